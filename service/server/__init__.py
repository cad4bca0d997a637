"""uvicorn with limits: deadlines and sizes for each connection, graceful shutdown."""
