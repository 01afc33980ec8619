"""fastgd."""
