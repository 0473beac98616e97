import labs as labs  # before torch: see there
