"""What one application holds: its settings, the loaded model, the scheduler and the figures about them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import structlog

from onebit_kernels import isa_names
from onebit_model.audio.ffmpeg import Ffmpeg
from onebit_model.audio.spool import SpoolBudget
from onebit_model.data.reference import read_set
from onebit_model.errors import UnknownSetError
from onebit_model.files.assets import model_path
from onebit_model.files.packed import PackedModel, read_packed
from onebit_model.recognition.recognizer import Recognizer, resident_bytes
from onebit_model.text.language_model import chosen_language_model
from onebit_model.text.search import Decoder, Search, chosen_search, search_tools
from onebit_service.errors import LoadingError, SettingError
from onebit_service.metrics import Metrics
from onebit_service.scheduling.engine_thread import EngineFactory
from onebit_service.scheduling.reference_scorer import ReferenceScorer
from onebit_service.scheduling.scheduler import Scheduler
from onebit_service.scheduling.work import Clock
from onebit_service.security import Keys, RateLimit
from onebit_service.settings import Settings
from onebit_service.tracing import Tracing

log = structlog.get_logger("onebit")


def chosen_ffmpeg(settings: Settings) -> Ffmpeg | None:
    """The usual one may be installed later, one that was named has to be there."""
    if not settings.ffmpeg:
        return None
    ffmpeg = Ffmpeg(settings.ffmpeg, settings.ffmpeg_seconds)
    if ffmpeg.program is None and settings.ffmpeg != "ffmpeg":
        raise SettingError("ffmpeg", f"{settings.ffmpeg}: there is no program here that can be run")
    return ffmpeg


def check_reference_sets(names: Iterable[str]) -> None:
    for name in names:
        try:
            read_set(name)
        except (UnknownSetError, UnicodeDecodeError) as error:
            raise SettingError("reference_sets", str(error)) from error


class Service:
    def __init__(
        self, settings: Settings, make_engine: EngineFactory = Recognizer.engine, clock: Clock = time.monotonic
    ) -> None:
        """Raises ModelFileError or SettingError: what is wrong with the file or a setting is known at once."""
        self.settings = settings
        self._make_engine = make_engine
        self._clock = clock
        self.packed: PackedModel = read_packed(model_path(settings.model or None))
        self.packed.require(settings.default_bits)
        self.language_model = chosen_language_model(settings.language_model, self.packed.vocabulary)
        self.search_tools = search_tools(self.packed, self.language_model)
        if settings.isa and settings.isa not in isa_names():
            raise SettingError("isa", f"{settings.isa!r} is not one of {', '.join(isa_names())}")
        self.metrics = Metrics()
        self.keys = Keys.load(settings)
        self.tracing = Tracing(settings.otlp_endpoint)
        self.rate_limit = RateLimit(settings.rate_limit)
        self.ffmpeg = chosen_ffmpeg(settings)
        check_reference_sets(settings.reference_sets)
        self.decoders = ThreadPoolExecutor(settings.max_files, thread_name_prefix="decode")
        self.spool_budget = SpoolBudget(settings.spool_bytes)
        self.failure: BaseException | None = None
        self._scheduler: Scheduler | None = None
        self._scorer: ReferenceScorer | None = None
        self._loader = threading.Thread(target=self._load, name="load", daemon=True)

    def start(self) -> None:
        self._loader.start()

    def stop(self) -> None:
        if self._loader.ident is not None:
            self._loader.join()
        if self._scorer is not None:
            self._scorer.stop()
        if self._scheduler is not None:
            self._scheduler.stop()
        self.tracing.stop()
        self.decoders.shutdown(wait=False, cancel_futures=True)

    @property
    def scheduler(self) -> Scheduler:
        if self._scheduler is None:
            raise LoadingError("the model is still being loaded")
        return self._scheduler

    def precision(self, bits: int | None) -> int:
        """What a request asks for, or the default; UnsupportedBitsError for what the file does not hold."""
        return self.packed.require(self.settings.default_bits if bits is None else bits)

    def search(self, beam: int | None, phrases: Iterable[str], decoder: Decoder | None = None) -> Search:
        """What a request asks for, or SearchOptionError."""
        return chosen_search(beam, phrases, self.search_tools, decoder)

    @property
    def loaded(self) -> bool:
        return self._scheduler is not None

    def _load(self) -> None:
        try:
            isa = self.settings.isa or None
            # Before the model itself is there: the two together would be the peak of the whole process. And before
            # anything is let in: the event loop stands still meanwhile.
            for bits in self.packed.bits:
                self.metrics.model_resident_bytes.labels(str(bits)).set(resident_bytes(self.packed, bits, isa))
            recognizer = Recognizer(self.packed, isa, self.language_model)
            self.packed.release_pages()
            threads = self.settings.engine_threads or len(os.sched_getaffinity(0))
            scheduler = Scheduler(recognizer, self.settings, threads, self.metrics, self._make_engine, self._clock)
            scheduler.start()
            self._describe(recognizer)
            self._scheduler = scheduler
            self._scorer = ReferenceScorer(scheduler, self.settings, self.metrics)
            self._scorer.start()
            log.info("model_loaded", path=str(self.packed.path), bits=self.packed.bits, isa=recognizer.model.isa)
        except BaseException as error:
            log.exception("model_not_loaded")
            self.failure = error

    def _describe(self, recognizer: Recognizer) -> None:
        self.metrics.begin_decoder(recognizer.bits)
        for bits in recognizer.bits:
            self.metrics.model_bytes.labels(str(bits)).set(recognizer.file_bytes_by_bits[bits])
        model = self.packed.description.checkpoint_sha256[:12]
        self.metrics.build_info.info({"version": version("onebit"), "isa": recognizer.model.isa, "model": model})
