"""What is run, in which order, and the figures that come of it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from attrs import Factory, define, frozen

from tests.bench import book, concurrency, data, decoding, latency, processes, startup
from tests.bench.environments import OURS, UnavailableError
from tests.bench.figures import Figure, Goal, differences, ratios
from tests.bench.processes import FailedError, Outcome
from tests.bench.stage import Stage, open_stage
from tests.bench.work import Job

PARTS = ("decode", "book", "tables", "feed", "peers", "recording", "concurrency", "latency", "memory", "startup")
MIB = 1024 * 1024


@frozen
class Contender:
    """Who reads the topic."""

    title: str
    module: str
    environment: str = OURS
    is_peer: bool = False
    """Whether the goal is about it: a published library that does the same typed work."""


FEED = Contender("rbhq_stream Feed", "feed")
INTO_BOOK = Contender("rbhq_stream Feed into a RaceBook", "feed_into_book")
ASYNC_FEED = Contender("rbhq_stream AsyncFeed", "async_feed")
FEED_HEALTH = Contender("rbhq_stream Feed, its health read by another thread", "feed_health")
LOOP = Contender("poll() + json.loads, by hand", "loop")
TYPED = (
    Contender("aiokafka + pydantic", "aiokafka_pydantic", "peers", is_peer=True),
    Contender("FastStream (aiokafka) + pydantic", "faststream_aiokafka", "peers", is_peer=True),
    Contender("FastStream (confluent) + pydantic", "faststream_confluent", "peers", is_peer=True),
    Contender("Quix Streams + pydantic", "quix", "quix", is_peer=True),
    Contender("consume() + pydantic, by hand", "consume_pydantic", "peers"),
)


OWN_GOALS = {
    LOOP.title: Goal(2.0),
    "aiokafka + pydantic": Goal(1.5),
    ASYNC_FEED.title: Goal(1.11, at_most=True),
    FEED_HEALTH.title: Goal(1.05, at_most=True),
}
"""How many times as fast as these the feed alone has to be; for those of our own, may be at most."""


@frozen
class Settings:
    """How much of everything."""

    parts: tuple[str, ...] = PARTS
    records: int = 200_000
    """Each contender reads all of them: what was fetched before the first is handled must not weigh more for some."""
    rounds: int = 5
    decoded: int = 200_000
    book_updates: int = 5_000_000
    """Price updates of the race book's day: about as many as a busy day has."""
    latency_records: int = 4_000
    latency_rounds: int = 5
    long_records: int = 1_000_000
    stall_seconds: int = 8
    huge_records: int = 600
    """Of 900 kB each."""
    checked_records: int = 5_000
    startup_rounds: int = 3
    partitions: int = 4
    plaintext: bool = False


@define
class Run:
    """One run of the benchmark."""

    settings: Settings
    figures: list[Figure] = Factory(list)
    outcomes: dict[str, list[Outcome]] = Factory(dict)
    """What each contender reported, by its title."""
    facts: dict[str, Any] = Factory(dict)
    versions: dict[str, dict[str, str]] = Factory(dict)

    def all(self) -> None:
        wanted = self.settings.parts
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            say("making records up")
            most = max(self.settings.decoded, self.settings.records)
            records = data.realistic(most)
            self._describe([value for _, value in records[: self.settings.records]])
            if "decode" in wanted:
                self._decode(folder, [value for _, value in records[: self.settings.decoded]])
            if "book" in wanted:
                self._book(folder)
            if "tables" in wanted:
                self._tables()
            if set(wanted) <= {"decode", "book", "tables"}:
                return
            say("starting a broker")
            with open_stage(
                folder / "kafka", partitions=self.settings.partitions, plaintext=self.settings.plaintext
            ) as stage:
                records = records[: self.settings.records]
                if "feed" in wanted or "peers" in wanted:
                    self._throughput(stage, records)
                    self._catching_up(stage)
                if "concurrency" in wanted:
                    self._concurrency(stage)
                if "recording" in wanted:
                    self._recording(stage, records, folder)
                if "latency" in wanted:
                    self._latency(stage)
                if "startup" in wanted:
                    say("startup and recovery")
                    self.figures += startup.measure(stage, self.settings.startup_rounds)
                if "memory" in wanted:
                    self._memory(stage, records)
                    self._memory_of_huge_records(stage)

    # the parts

    def _describe(self, records: list[bytes]) -> None:
        small, large = data.small_and_large(records)
        self.facts["records"] = len(records)
        self.facts["bytes"] = {"small": _mean_size(small), "large": _mean_size(large)}
        self.facts["large_share"] = len(large) / len(records)
        self.facts["repeated"] = data.repetition(records)

    def _decode(self, folder: Path, records: list[bytes]) -> None:
        say("decode")
        data.save(records, folder / "realistic")
        prices = data.prices_in(records[:20_000])
        for kind in ("cold small", "cold large"):
            documents = list(data.cold(max(400, self.settings.decoded // 10), prices, large=kind.endswith("large")))
            data.save(documents, folder / kind)
        outcome = processes.finish(processes.start("decoding", str(folder)), 300)
        self._keep("decode", outcome, OURS)
        for kind, goal in decoding.GOALS.items():
            result = outcome[kind]
            ours, theirs = _median(result["ours_us"]), _median(result["json_us"])
            self.figures.append(
                Figure(
                    "decode",
                    f"decode ÷ json.loads, {kind}",
                    "time ratio",
                    tuple(result["ratios"]),
                    Goal(goal, at_most=True),
                    f"{ours:.2f} µs against {theirs:.2f} µs for {result['bytes']:.0f} bytes",
                )
            )

    def _book(self, folder: Path) -> None:
        updates = self.settings.book_updates
        say(f"the race book, {updates:,} updates")
        job = str(updates), str(folder / "book.json")
        outcome = processes.finish(processes.start("book", *job), 120 + updates / 10_000)
        self._keep("book", outcome, OURS)
        fold, day, snapshot = outcome["fold"], outcome["day"], outcome["snapshot"]
        rate, rates = Goal(200_000), tuple(fold["updates_per_second"])
        per_event = f"{fold['updates_per_event']:.1f} updates in an event"
        a_day = f"{day['events']:,} events, {updates:,} updates, {day['races']} races, {day['runners']:,} runners"
        saved = f"{day['races']} races, {snapshot['bytes'] / MIB:.1f} MiB"
        self.figures += [
            Figure("race book", "price updates folded", "updates/s", rates, rate, per_event),
            Figure("race book", "RaceBook ÷ a bare dictionary", "time ratio", tuple(fold["ratios"])),
            Figure("race book", "a day folded", "updates/s", (updates / day["seconds"],), rate, a_day),
            Figure(
                "race book",
                "size of the process after the day",
                "MiB",
                (day["resident"] / MIB,),
                Goal(500, at_most=True),
                f"the day added {day['growth'] / MIB:.0f} MiB",
            ),
            Figure("race book", "as_of at the end of the day", "ms", (outcome["as_of_ms"],)),
            Figure(
                "race book",
                "save and load",
                "s",
                (snapshot["save"] + snapshot["load"],),
                Goal(1, at_most=True),
                saved,
            ),
        ]

    def _tables(self) -> None:
        updates = max(self.settings.book_updates // 5, 400_000)
        say(f"tables, {updates:,} updates")
        outcome = processes.finish(processes.start("tables", str(updates)), 120 + updates / 10_000)
        self._keep("tables", outcome, OURS)
        rates = tuple(outcome["rows_per_second"])
        self.figures.append(Figure("tables", "to_arrow, rows of prices", "rows/s", rates, Goal(500_000)))

    def _throughput(self, stage: Stage, records: list[tuple[bytes, bytes]]) -> None:
        peers = TYPED if "peers" in self.settings.parts else ()
        contenders = [FEED, ASYNC_FEED, FEED_HEALTH, LOOP, *peers]
        topic = stage.topic("prices", records)
        failed = self._check(stage, contenders, stage.topic("check", records[: self.settings.checked_records]))
        for turn in range(self.settings.rounds):
            for contender in contenders:
                if contender.title in failed:
                    continue
                say(f"round {turn + 1} of {self.settings.rounds}: {contender.title}")
                try:
                    outcome = _read(contender, stage.job(topic, self.settings.records))
                    self._keep(contender.title, outcome, contender.environment)
                except FailedError as error:
                    failed[contender.title] = f"round {turn + 1}: {error}"
        self._throughput_figures(contenders, failed)

    def _catching_up(self, stage: Stage) -> None:
        """A book has few scratchings to fold, as a day has, and not two in every tenth record."""
        documents = (raw for raw, _ in book.day(2 * self.settings.records))
        records = [(raw[:40], raw) for raw in islice(documents, self.settings.records)]
        topic = stage.topic("day", records)
        rates: dict[str, list[float]] = {FEED.title: [], INTO_BOOK.title: []}
        for turn in range(self.settings.rounds):
            for contender in (FEED, INTO_BOOK):
                say(f"catching up, round {turn + 1} of {self.settings.rounds}: {contender.title}")
                outcome = _read(contender, stage.job(topic, len(records)))
                rates[contender.title].append(outcome["events_per_second"])
                self._keep(f"catching up: {contender.title}", outcome, contender.environment)
        for title, values in rates.items():
            self.figures.append(Figure("catching up", title, "events/s", tuple(values)))
        alone, into_book = rates.values()
        self.figures.append(
            Figure("catching up", "Feed into a RaceBook ÷ Feed", "ratio", ratios(into_book, alone), Goal(0.5))
        )

    def _recording(self, stage: Stage, records: list[tuple[bytes, bytes]], folder: Path) -> None:
        """A feed that records against one that does not, and the replay against both, in turns."""
        topic = stage.topic("recorded", records)
        count = self.settings.records
        for turn in range(self.settings.rounds):
            recording = folder / f"recording-{turn}"
            turns = (("alone", ""), ("recording", f"record {recording}"))
            for title, mode in turns if turn % 2 else turns[::-1]:
                say(f"recording, round {turn + 1} of {self.settings.rounds}: feed {title}")
                module = "recording" if mode else "feed"
                outcome = processes.run(f"contenders.{module}", stage.job(topic, count, mode=mode), OURS)
                self._keep(f"feed {title}", outcome, OURS)
            say(f"recording, round {turn + 1} of {self.settings.rounds}: replay")
            job = stage.job(topic, count, mode=f"replay {recording}")
            self._keep("replay", processes.run("contenders.recording", job, OURS), OURS)
        alone, recording_, replay = (
            self._numbers(title, "events_per_second") for title in ("feed alone", "feed recording", "replay")
        )
        values = sum(len(value) for _, value in records)
        sizes = tuple(size / values for size in self._numbers("feed recording", "bytes"))
        seconds = self._numbers("feed recording", "seconds")
        part = "recording"
        self.figures += [
            Figure(part, "Feed", "events/s", alone),
            Figure(part, "Feed that records", "events/s", recording_, note=f"{min(seconds):.1f} s and more"),
            Figure(part, "replay at full speed", "events/s", replay),
            Figure(part, "Feed that records ÷ Feed", "ratio", ratios(recording_, alone), Goal(0.9), "round by round"),
            Figure(
                part,
                "processor time of all threads, Feed that records ÷ Feed",
                "time ratio",
                ratios(*(self._numbers(title, "cpu_seconds") for title in ("feed recording", "feed alone"))),
            ),
            Figure(part, "replay ÷ Feed", "ratio", ratios(replay, alone), Goal(1.0), "round by round"),
            Figure(part, "size ÷ bytes of the values", "size ratio", sizes, Goal(0.2, at_most=True)),
        ]

    def _check(self, stage: Stage, contenders: Iterable[Contender], topic: str) -> dict[str, str]:
        """Has each read a few records for the checksum of their values; returns who failed, and why."""
        failed = {}
        expected: Outcome | None = None
        for contender in contenders:
            say(f"values of {contender.title}")
            try:
                outcome = _read(contender, stage.job(topic, self.settings.checked_records, check=True))
            except (FailedError, UnavailableError) as error:
                failed[contender.title] = f"not run: {error}"
                continue
            values = {name: outcome[name] for name in ("events", "sum_of_prices", "scratchings", "digest")}
            if expected is None:
                self.facts["checked"] = expected = values
            if values != expected:
                failed[contender.title] = f"not run: other values than {FEED.title}: {values}"
        return failed

    def _throughput_figures(self, contenders: list[Contender], failed: dict[str, str]) -> None:
        for contender in contenders:
            note = failed.get(contender.title, "")
            for part, unit, values in (
                ("events per second", "events/s", self._numbers(contender.title, "events_per_second")),
                ("processor time of an event, all threads", "µs", self._cpu_per_event(contender)),
                ("peak memory of the process", "MiB", self._numbers(contender.title, "peak_rss")),
            ):
                scaled = tuple(value / MIB if unit == "MiB" else value for value in values)
                self.figures.append(Figure(part, contender.title, unit, scaled, note=note))
        ours = self._numbers(FEED.title, "events_per_second")
        for contender in contenders[1:]:
            goal = OWN_GOALS.get(contender.title, Goal(3.0) if contender.is_peer else None)
            values = ratios(ours, self._numbers(contender.title, "events_per_second"))
            note = failed.get(contender.title, "round by round")
            self.figures.append(
                Figure("feed, events per second", f"Feed ÷ {contender.title}", "ratio", values, goal, note)
            )

    def _concurrency(self, stage: Stage) -> None:
        topic = stage.topic("concurrency", concurrency.many_races(concurrency.MANY))
        for turn in range(self.settings.rounds):
            for mode in concurrency.MODES:
                say(f"round {turn + 1} of {self.settings.rounds}: {mode} at once")
                outcome = processes.run("concurrency", stage.job(topic, concurrency.count_of(mode), mode=mode))
                self._keep(f"concurrency {mode}", outcome, OURS)
        self.figures += concurrency.figures(self.outcomes)

    def _latency(self, stage: Stage) -> None:
        count = self.settings.latency_records
        for turn in range(self.settings.latency_rounds):
            for mode in ("poll", "feed") if turn % 2 else ("feed", "poll"):
                say(f"latency, round {turn + 1} of {self.settings.latency_rounds}: {mode}")
                topic = stage.topic(f"latency-{turn}-{mode}")
                reader = processes.start("latency", processes.job_as_json(stage.job(topic, count, mode=mode)))
                writer = processes.start("latency", processes.job_as_json(stage.job(topic, count, mode="publish")))
                try:
                    processes.finish(writer, 120)
                finally:
                    outcome = processes.finish(reader, 30)
                self._keep(f"latency {mode}", outcome, OURS)
        for percentile, limit in (("p50", 0.1), ("p99", 1.0)):
            poll, feed = (self._numbers(f"latency {mode}", f"{percentile}_ms") for mode in ("poll", "feed"))
            for name, values in (("bare poll()", poll), ("Feed", feed)):
                self.figures.append(Figure("latency", f"{percentile}, publish to handler, {name}", "ms", values))
            self.figures.append(
                Figure(
                    "latency",
                    f"{percentile}, added by Feed",
                    "ms",
                    differences(feed, poll),
                    Goal(limit, at_most=True),
                    f"{latency.PER_SECOND}/s, {count - latency.WARM_UP} records in each round",
                )
            )

    def _memory(self, stage: Stage, records: list[tuple[bytes, bytes]]) -> None:
        total = self.settings.long_records
        say(f"publishing {total:,} records")
        topic = stage.topic("long", records, total)
        for mode in ("stalled poll", "stalled feed", "long feed"):
            say(f"memory: {mode}")
            count = total if mode.startswith("long") else self.settings.stall_seconds * 10
            job = stage.job(topic, count, mode=mode)
            self._keep(f"memory {mode}", processes.run("memory", job, timeout=60 + total / 5_000), OURS)
        poll, feed = (self.outcomes[f"memory stalled {who}"][-1] for who in ("poll", "feed"))
        peak = feed["peak_rss"] / MIB
        self.figures += [
            Figure("memory", "peak, stalled handler, bare poll()", "MiB", (poll["peak_rss"] / MIB,)),
            Figure("memory", "peak, stalled handler, Feed", "MiB", (peak,), note=f"{total:,} records wait"),
            Figure(
                "memory",
                "in the buffer of the stalled Feed",
                "records",
                (feed["waiting"],),
                Goal(feed["buffer_records"] + 501, at_most=True),
                "buffer_records, and the last batch",
            ),
            Figure(
                "memory",
                "growth in the last half of the stall",
                "MiB",
                ((feed["sizes"][-1] - feed["sizes"][len(feed["sizes"]) // 2]) / MIB,),
                Goal(1, at_most=True),
            ),
        ]
        sizes = self.outcomes["memory long feed"][-1]["sizes"]
        self.figures += [
            Figure("memory", "peak, long run", "MiB", (max(sizes) / MIB,), note=f"{total:,} records"),
            Figure(
                "memory",
                "growth from half of a long run to its end",
                "MiB",
                ((sizes[-1] - sizes[len(sizes) // 2 - 1]) / MIB,),
                Goal(8, at_most=True),
                f"{total // 2:,} records",
            ),
        ]

    def _memory_of_huge_records(self, stage: Stage) -> None:
        """The buffer has a bound in bytes, too; the size of the process shows whether all that waits is counted."""
        total = self.settings.huge_records
        say(f"publishing {total:,} records of 900 kB")
        topic = stage.topic("huge", data.huge(8), total)
        say("memory: stalled feed, 900 kB")
        job = stage.job(topic, self.settings.stall_seconds * 10, mode="stalled feed")
        outcome = processes.run("memory", job, timeout=120)
        self._keep("memory stalled feed, 900 kB", outcome, OURS)
        allowed = outcome["buffer_bytes"] / MIB
        self.figures += [
            Figure(
                "memory",
                "waiting in the stalled Feed, 900 kB records",
                "MiB",
                (outcome["waiting_bytes"] / MIB,),
                Goal(allowed, at_most=True),
                f"buffer_bytes; {total:,} records wait",
            ),
            Figure(
                "memory",
                "growth of the process meanwhile",
                "MiB",
                ((outcome["peak_rss"] - outcome["before"]) / MIB,),
                Goal(1.5 * allowed, at_most=True),
                "half as much again for connections and the allocator",
            ),
        ]

    # what was reported

    def _keep(self, title: str, outcome: Outcome, environment: str) -> None:
        self.versions[environment] = outcome.pop("versions")
        self.outcomes.setdefault(title, []).append(outcome)

    def _numbers(self, title: str, name: str) -> tuple[float, ...]:
        return tuple(outcome[name] for outcome in self.outcomes.get(title, ()))

    def _cpu_per_event(self, contender: Contender) -> tuple[float, ...]:
        seconds, events = (self._numbers(contender.title, name) for name in ("cpu_seconds", "events"))
        return tuple(1e6 * ratio for ratio in ratios(seconds, events))


def say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


def _read(contender: Contender, job: Job) -> Outcome:
    return processes.run(f"contenders.{contender.module}", job, contender.environment)


def _mean_size(records: list[bytes]) -> float:
    return sum(map(len, records)) / max(1, len(records))


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
