"""Every error a user can meet, by name; each message says what is wrong and what to do about it."""

from __future__ import annotations


class FinestreamError(Exception):
    """Base of all our errors. Its message names the fix; `exit_code` is the command line's answer."""

    exit_code = 1


class SettingsError(FinestreamError):
    """A setting is unknown, malformed, or contradicts what the pipeline was created with."""

    exit_code = 2


class BankError(SettingsError):
    """A template bank is malformed, half written, or does not fit its manifest or its encoder."""


class PrecisionOutOfReach(FinestreamError):
    """No threshold of a bank gives the precision that is wanted; the message says the best that one gives."""


class BrokerError(FinestreamError):
    """The embedded broker cannot be fetched, formatted, started or kept."""

    exit_code = 4


class BrokerUnreachable(BrokerError):
    """No broker answers at the address in the settings (or it refuses our credentials)."""


class TopicError(FinestreamError):
    """A topic is missing, has another number of partitions, or a setting that would lose records."""


class SourceError(FinestreamError):
    """An input file is missing, unreadable now, or of a format that ingest does not know."""

    exit_code = 2


class SourceUnavailable(SourceError):
    """A source cannot be read now for a reason that may pass: the network, the store, the disk."""

    exit_code = 1


class ShardMismatch(FinestreamError):
    """Ingesters of another number are at work, or left a source open: its lanes would change."""

    exit_code = 3


class RecordError(FinestreamError):
    """Bytes in a topic that are no record of ours; the runner buries them with this reason."""


class LaneError(FinestreamError):
    """A lane is not whole, so it stops: going on would train over a loss. See the subclasses."""

    exit_code = 3


class LaneGap(LaneError):
    """A position or an origin is missing between two records of a lane."""


class LaneTrimmed(LaneError):
    """Records that this reader still needed were deleted from the log."""


class LaneRecreated(LaneError):
    """The topics were deleted and created anew under old outputs: another epoch, or a tail beyond the end."""


class AccountsDiffer(LaneError):
    """Counted from the topics, something is missing, repeated or contradicts; the message names the first."""


class StageMismatch(FinestreamError):
    """A worker's settings differ from those that its generation was created with."""

    exit_code = 2


class Fenced(FinestreamError):
    """Another process with the same identity has taken over; this one must not write any more."""

    exit_code = 3


class LedgerMismatch(LaneError):
    """What a trainer reads again is not what its ledger says was trained on."""


class NonFiniteLoss(FinestreamError):
    """The loss was no number for several steps in a row: the run stops and names the documents."""


class CheckpointError(FinestreamError):
    """A checkpoint cannot be written, is damaged, or belongs to another run, version or model."""


class ServeError(FinestreamError):
    """vLLM cannot be installed, or a server that we start ends before it ever generates."""

    exit_code = 4


class EngineError(FinestreamError):
    """A language model gave no completion. The four kinds below ask for four different things."""


class Refused(EngineError):
    """A server refuses this request for good (too long, malformed): its record is a dead letter."""


class Broken(EngineError):
    """Servers are up, but this request got no usable answer within its tries: its record is a dead letter."""


class AnswerTooLong(Broken):
    """An answer was cut off at the bound in bytes."""


class Unavailable(EngineError):
    """No replica is up: nothing is wrong with the record, it waits until one is."""

    exit_code = 4


class Misconfigured(EngineError):
    """Every request is refused (wrong key, model, address or field): the settings are wrong, no record is."""

    exit_code = 2
