"""What a comparison looks like: tables, figures, pictures and the page that holds them."""
