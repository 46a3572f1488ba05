"""What a comparison looks like: tables, figures, contact sheets and the page that holds them."""
