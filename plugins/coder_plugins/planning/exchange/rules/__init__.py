"""Pure functions of the exchange: what a record means here and back, which links are made, what a project is called."""
