from onebit_service.cli import app

app()
