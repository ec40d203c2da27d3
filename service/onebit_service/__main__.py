from onebit_service.commands.cli import app

app()
