"""What the package exports and imports, and that the built wheel works by itself."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import types
import venv
from pathlib import Path

import pytest

import rbhq_stream
import rbhq_stream.testing
from tests import ROOT

EXPORTED = set(
    """
AsyncFeed AuthenticationError AuthorizationError ConfigError ConnectError DataLossError DeadLetter DeadLetterError
    DeadLetterFile DeadLetterTopic DeadLetters DecodeError Diagnosis Dividend Event Step diagnose
    PartitionsLost Positions Signal SqlOffsets TopicPartition
    KafkaProperties NO_EXTRA NO_RETRY OnBadRecord OnEvent OnPart Owner PropertyValue RawRecord Source Verdict
    PartitionEnd SourceStatus
    ArrowTables to_arrow
    Recording RecordingCut RecordingError RecordingFailed RecordTo
    AsyncReading ReadProgress Reading aread read
    Followable OnChange
    Gap Health HealthChanged HealthFigures HealthReason HealthRules HealthState PartitionHealth PartitionsAssigned
    PartitionsRevoked HealthFile Schedule TopicHealth
Extra Fault Feed FeedClosedError FeedConfig FeedStats PayoutFactors PoolDividend PriceEvent PriceType PriceUpdate
RaceEvent RaceId RaceResultEvent RaceStatus RaceStatusEvent RbhqStreamError Record Retry RunnerResult Scratching Secret
FeedInUseError ForkedFeedError
AnomalyKind RaceBook Anomaly Change DeductionRevised FinalityChanged PriceChanged RaceLeft
ResultAmended ResultPosted RunnerReinstated RunnerScratched StatusChanged HistoryError
FinalityReason PostedResult StatedStatus Transition Price PriceKey RaceState SnapshotError
Deduction DeductionLedger Deductions LedgerEntry RecordMark ScratchingHistory
CombineDeductions DeductFrom Factor FactorName FieldSize Finality InDoubt LateScratching Outcome Payout PayoutReason
PlaceTerms ResultId SettlementRules
CardMeeting CardRace CardRunner RaceCard
BettingChanged BettingDecision BettingGate GateRules Refusal RefusalReason
TlsError Topics UnknownTopicError UnreachableError Unscratching decode encode to_dict
""".split()  # noqa: SIM905  # easier to read and to add to
)

EXPORTED_FOR_TESTING = set(
    """
Application Day assert_idempotent assert_survives
BrokerClosedError Code EmbeddedBroker HandlesSignals Happening Meeting MemoryRecord MemorySource PublishError Race
RaceTruth Resynchronises Runner Simulator TimedEvent
""".split()  # noqa: SIM905  # easier to read and to add to
)


def exported(module: types.ModuleType) -> list[str]:
    return sorted(name for name in vars(module) if not name.startswith("_") and not is_module(module, name))


def is_module(module: types.ModuleType, name: str) -> bool:
    return isinstance(getattr(module, name), types.ModuleType)


def test_the_exported_names() -> None:
    assert sorted(rbhq_stream.__all__) == sorted(EXPORTED)
    assert set(exported(rbhq_stream)) == set(EXPORTED)
    assert sorted(rbhq_stream.testing.__all__) == sorted(EXPORTED_FOR_TESTING)
    assert set(exported(rbhq_stream.testing)) == set(EXPORTED_FOR_TESTING)


def test_importing_it_imports_no_optional_dependency() -> None:
    unwanted = ("rich", "opentelemetry", "pytest", "rbhq_stream.metrics", "rbhq_stream.testing", "rbhq_stream._demo")
    code = f"import rbhq_stream, sys; print(*[name for name in {unwanted} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""


def test_all_errors_have_one_base_class() -> None:
    errors = [value for name, value in vars(rbhq_stream).items() if name.endswith("Error") and isinstance(value, type)]
    assert len(errors) >= 10
    assert all(issubclass(error, rbhq_stream.RbhqStreamError) for error in errors)


@pytest.mark.timeout(300)
def test_the_built_wheel_works_in_an_empty_environment(tmp_path: Path) -> None:
    """Built, installed and imported without the extras, and without this checkout."""
    environment = {**os.environ, "PYTHONPATH": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)],
        check=True,
        env=environment,
    )
    (wheel,) = tmp_path.glob("rbhq_stream-*.whl")
    venv.create(tmp_path / "empty")
    python = tmp_path / "empty" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", "-q", str(wheel)], check=True, env=environment)
    code = (
        "import rbhq_stream, rbhq_stream.testing, importlib.util as u;"
        "assert not any(u.find_spec(name) for name in ('rich', 'opentelemetry', 'pytest'));"
        "from pathlib import Path; assert (Path(rbhq_stream.__file__).parent / 'py.typed').exists();"
        "print(rbhq_stream.__file__)"
    )
    out = subprocess.run(
        [python, "-c", code], check=True, env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert str(tmp_path) in out.stdout
    out = subprocess.run(
        [tmp_path / "empty" / "bin" / "rbhq-stream", "demo", "--seconds", "1", "--plain"],
        check=True, env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert "events" in out.stdout


def test_the_version_is_defined_once() -> None:
    assert importlib.metadata.version("rbhq-stream") in (ROOT / "CHANGELOG.md").read_text()


def test_no_test_module_imports_another_one() -> None:
    """Helpers that several test modules need are in modules of their own."""
    importing = re.compile(r"^\s*(?:from|import) tests(?:\.\w+)*\.test_", re.MULTILINE)
    modules = [path for path in (ROOT / "tests").rglob("*.py") if importing.search(path.read_text(encoding="utf-8"))]
    assert modules == []
