"""Write the trained demo model as a bundle."""
