"""Programs for those who change this project; the server needs none of them."""
