"""Tables: CSV and Parquet to named columns, and back."""
