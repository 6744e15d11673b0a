"""The demo: four runs that differ in their method only, from an empty folder to a table and what it means."""
