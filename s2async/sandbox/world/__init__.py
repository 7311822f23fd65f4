"""Generated scenes: land, sky, satellite passes, and the files made from them."""
