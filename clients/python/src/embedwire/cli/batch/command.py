"""The subcommand `embedwire batch`."""

import typer

from embedwire.cli import options
from embedwire.cli.audio import AudioOptions, parse_segmentation
from embedwire.cli.batch import options as own
from embedwire.cli.batch.options import Format, per_modality
from embedwire.connection import DEFAULT_TARGET

_PROGRESS_INTERVAL = 10.0  # seconds


def batch(  # noqa: PLR0913, PLR0917 - options of the command
    sources: own.Sources,
    folder: own.OutputFolder = None,
    source_format: own.SourceFormatOption = None,
    include: own.Include = None,
    key_column: own.KeyColumn = "key",
    text_column: own.TextColumn = "text",
    image_column: own.ImageColumn = "image",
    audio_column: own.AudioColumn = "audio",
    checksum: own.Checksum = False,  # noqa: FBT002 - a flag is a boolean
    form: own.FormatOption = Format.PARQUET,
    part_rows: own.PartRows = None,
    uncertainty: own.Uncertainty = False,  # noqa: FBT002 - a flag is a boolean
    dry_run: own.DryRun = False,  # noqa: FBT002 - a flag is a boolean
    requests_per_minute: own.RequestsPerMinute = None,
    media_minutes_per_hour: own.MediaMinutesPerHour = None,
    price: own.Price = None,
    retry_failed: own.RetryFailed = False,  # noqa: FBT002 - a flag is a boolean
    inputs_per_call: own.InputsPerCall = None,
    concurrent_calls: own.ConcurrentCalls = None,
    max_attempts: own.MaxAttempts = None,
    outage_timeout: own.OutageTimeout = None,
    progress_interval: own.ProgressInterval = None,
    start_offset: options.StartOffset = None,
    end_offset: options.EndOffset = None,
    segmentation: options.SegmentationOption = None,
    embedding_option: options.EmbeddingOptions = None,
    embedding_scope: options.EmbeddingScopes = None,
    embedding_type: options.EmbeddingTypes = None,
    processing_mode: options.ProcessingModeOption = None,
    truncate: options.Truncation = None,
    model: options.ModelName = "marengo3.0",
    timeout: options.Timeout = None,
    max_retries: options.MaxRetries = None,
    dimensions: options.Dimensions = None,
    target: options.Target = DEFAULT_TARGET,
    tls: options.Tls = False,  # noqa: FBT002 - a flag is a boolean
    tls_ca: options.TlsCa = None,
    token: options.Token = None,
) -> None:
    """Embed all inputs of folders, lists and tables into files, with resume.

    The output folder has embeddings/ with a row per vector, failures.jsonl
    with a line per failed input, and a ledger of what is complete. The same
    command again, also after a crash, embeds only what is missing.

    The first Ctrl-C, SIGTERM or SIGHUP waits for the running calls, and saves
    their vectors. A second one ends immediately; what was saved is safe. The
    bearer token for the server is read from the variable EMBEDWIRE_TOKEN.
    """
    quotas = per_modality("--requests-per-minute", requests_per_minute, "N")
    prices = per_modality("--price", price, "AMOUNT")
    given = {"--requests-per-minute": quotas, "--media-minutes-per-hour": media_minutes_per_hour, "--price": prices}
    if names := [] if dry_run else [name for name, value in given.items() if value]:
        raise typer.BadParameter("is for --dry-run", param_hint=names[0])
    audio = AudioOptions(
        start_offset=start_offset,
        end_offset=end_offset,
        segmentation=parse_segmentation(segmentation),
        aspects=embedding_option or (),
        scopes=embedding_scope or (),
        types=embedding_type or (),
        mode=processing_mode,
    )
    # They need the extra, which `embed` does not.
    from embedwire.batch.sources import Columns  # noqa: PLC0415
    from embedwire.cli.batch.plan import Limits, print_plan  # noqa: PLC0415
    from embedwire.cli.batch.run import Connection, Preparation, Run  # noqa: PLC0415
    from embedwire.cli.batch.sources import SourceOptions  # noqa: PLC0415

    chosen = SourceOptions(
        locations=sources,
        format=None if source_format is None else source_format.value,
        columns=Columns(key=key_column, text=text_column, image=image_column, audio=audio_column),
        include=include or (),
        checksum=checksum,
    )
    prepare = Preparation(truncate, audio)
    if dry_run:
        print_plan(chosen, prepare, folder, Limits(quotas, media_minutes_per_hour, prices))
    if folder is None:
        raise typer.BadParameter("needs a folder for the vectors", param_hint="--output")
    limits = {
        "inputs_per_call": inputs_per_call,
        "concurrent_calls": concurrent_calls,
        "max_attempts": max_attempts,
        "outage_timeout": outage_timeout,
        "part_rows": part_rows,
    }
    run_options = {name: value for name, value in limits.items() if value is not None} | {
        "format": str(form),
        "retry_failed": retry_failed,
        "dimensions": dimensions,
        "include_uncertainty": uncertainty,
        "max_retries": max_retries,
        "timeout": timeout,
        "prepare": prepare,
        "settings": prepare.settings,
    }
    Run(
        sources=chosen,
        connection=Connection(target=target, tls=tls, tls_ca=tls_ca, token=token, timeout=timeout),
        model=model,
        folder=folder,
        options=run_options,
        interval=progress_interval or _PROGRESS_INTERVAL,
    ).run()
