"""Generated scenes: land, sky, passes, and the files made of them."""
