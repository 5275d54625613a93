"""The bundled domains; each folder is one plugin, loaded as a stranger's plugin would be."""
