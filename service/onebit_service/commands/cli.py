"""The program `onebit`. Imports of each command sit inside it, so that `serve` never loads torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onebit_service.commands import bench, evaluation, training
from onebit_service.commands.options import DECODER_HELP, LANGUAGE_MODEL_HELP, ChunkChoice, DecoderChoice
from onebit_service.commands.output import errors_for_people

app = typer.Typer(help="Speech recognition at 1, 2 and 4 bits.", no_args_is_help=True, pretty_exceptions_enable=False)

WYOMING_URI = "tcp://127.0.0.1:10300"


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[str | None, typer.Option(metavar="INTEGER", help="Port to listen on.")] = None,
    model: Annotated[str | None, typer.Option(help="Packed file. Default: the shipped one.")] = None,
    default_bits: Annotated[
        str | None, typer.Option(metavar="INTEGER", help="Precision where a request names none.")
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(help="Certificate (PEM).")] = None,
    tls_key: Annotated[str | None, typer.Option(help="Its private key (PEM).")] = None,
) -> None:
    """Serve over HTTP and WebSocket. Every other setting is a variable of the environment: docs/settings.md.

    An empty option counts as not given.
    """
    with errors_for_people():
        from onebit_service.commands.serving import run_server

        given = {
            "host": host,
            "port": port,
            "model": model,
            "default_bits": default_bits,
            "tls_cert": tls_cert,
            "tls_key": tls_key,
        }
        code = run_server(given)
    raise typer.Exit(code)


@app.command()
def wyoming(
    uri: Annotated[str, typer.Option(help="Where to listen: tcp://HOST:PORT or unix:///PATH.")] = WYOMING_URI,
    bits: Annotated[
        str | None, typer.Option(metavar="INTEGER", help="Precision where a client names no model: 1, 2 or 4.")
    ] = None,
    hotwords: Annotated[list[str] | None, typer.Option(help="Comma-separated phrases to prefer; repeatable.")] = None,
    model: Annotated[str | None, typer.Option(help="Packed file. Default: the shipped one.")] = None,
) -> None:
    """Serve Home Assistant over the Wyoming protocol (needs the extra wyoming): docs/wyoming.md."""
    with errors_for_people():
        from onebit_model.text.search import split_phrases
        from onebit_service.commands.wyoming import run_wyoming

        code = run_wyoming(uri, split_phrases(hotwords or []), bits, model)
    raise typer.Exit(code)


@app.command()
def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Audio files; - is standard input.")],
    bits: Annotated[int, typer.Option(help="Precision: 1, 2 or 4.")] = 4,
    chunk: Annotated[ChunkChoice, typer.Option(help="What the network sees at once.")] = ChunkChoice.segment,
    decoder: Annotated[DecoderChoice | None, typer.Option(help=DECODER_HELP)] = None,
    beam: Annotated[
        int | None,
        typer.Option(help="Texts that the search keeps, up to 8, with ctc 32; 1 is greedy. Default: 1, with ctc 16."),
    ] = None,
    hotwords: Annotated[list[str] | None, typer.Option(help="Comma-separated phrases to prefer; repeatable.")] = None,
    model: Annotated[str, typer.Option(metavar="PATH", help="Packed file. Default: the shipped one.")] = "",
    language_model: Annotated[str, typer.Option(help=LANGUAGE_MODEL_HELP)] = "",
) -> None:
    """Print what is said in audio files, one segment a line, without a server."""
    with errors_for_people():
        from onebit_model.config import CHUNKS
        from onebit_model.recognition.recognizer import Recognizer
        from onebit_model.text.search import split_phrases
        from onebit_service.commands.serving import naming_audio, open_source, transcribe_file

        recognizer = Recognizer.load(model, language_model=language_model)
        search = recognizer.search(beam, split_phrases(hotwords or []), decoder.value if decoder else None)
        for file in files:
            with open_source(file) as source, naming_audio(file):
                for text in transcribe_file(recognizer, source, bits, CHUNKS[chunk.value], search):
                    typer.echo(text if len(files) == 1 else f"{file}: {text}")


@app.command()
def stream(
    file: Annotated[Path | None, typer.Argument(help="Audio file; - is standard input.")] = None,
    microphone: Annotated[bool, typer.Option("--microphone", help="Record instead (arecord, parec or rec).")] = False,
    url: Annotated[str, typer.Option(help="The server's /stream.")] = "ws://127.0.0.1:8000/stream",
    bits: Annotated[int | None, typer.Option(help="Precision: 1, 2 or 4. Default: the server's.")] = None,
    key: Annotated[str | None, typer.Option(envvar="ONEBIT_KEY", help="Key, where the server wants one.")] = None,
    finals: Annotated[DecoderChoice | None, typer.Option(help=DECODER_HELP)] = None,
    hotwords: Annotated[list[str] | None, typer.Option(help="Comma-separated phrases to prefer; repeatable.")] = None,
    real_time: Annotated[bool, typer.Option("--real-time", help="Send a file as slowly as it is spoken.")] = False,
) -> None:
    """Send audio to a server as a stream and show the text as it comes."""
    if (file is None) != microphone:
        raise typer.BadParameter("name a file, or --microphone")
    with errors_for_people():
        import asyncio

        from websockets.exceptions import InvalidStatus, WebSocketException

        from onebit_model.text.search import split_phrases
        from onebit_service.client import StreamOptions, StreamRefusedError
        from onebit_service.commands.stream import StreamJob, run_stream

        try:
            options = StreamOptions(
                bits=bits, finals=finals.value if finals else None, hotwords=split_phrases(hotwords or [])
            )
            asyncio.run(run_stream(StreamJob(url, file, options, key, real_time)))
        except InvalidStatus as error:
            # The server never refuses a stream like this, but says why: this is another path, or another server.
            hint = " (is the path right? streams are at /stream)" if error.response.status_code in (403, 404) else ""
            typer.echo(f"error: {error}{hint}", err=True)
            raise typer.Exit(1) from error
        except (StreamRefusedError, WebSocketException) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error


app.command()(evaluation.evaluate)
app.command()(training.train)
app.command("written-labels")(training.written_labels)
app.command("soft-labels")(training.soft_labels)
app.command()(training.export)
app.command()(training.average)
app.command()(training.language_model)
app.add_typer(bench.app, name="bench")
