"""How facetracks is hosted, and the settings that say where."""
