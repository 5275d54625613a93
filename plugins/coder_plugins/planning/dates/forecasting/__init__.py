"""Forecasting: when all will be done, from the pace of the last weeks."""
