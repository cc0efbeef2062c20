//! What a station counts.

hilrig_port::counters! {
    /// Live counters of a [`TelegramStation`](crate::TelegramStation).
    TelegramStats,
    /// Counters of a [`TelegramStation`](crate::TelegramStation) at one moment.
    TelegramTotals:
    /// Telegrams sent.
    sent = "sent",
    /// Telegrams received and understood.
    received = "received",
    /// Telegrams received that are for somebody else or of no known form.
    strangers = "strangers",
    /// Telegrams with a wrong checksum.
    checksum_errors = "checksumErrors",
    /// Bytes that were part of no telegram.
    noise_bytes = "noiseBytes",
    /// Periods that passed without their telegram.
    missed = "missedPeriods",
    /// Answers not sent because another request had come.
    superseded = "supersededReplies",
    /// Telegrams not sent because they were too long or the line took no more bytes.
    stalled = "stalled",
    /// Telegrams sent, or begun, once more.
    retries = "retries",
    /// Telegrams given up after all retries.
    failed = "failed",
    /// Negative acknowledgements and error replies sent.
    refused = "refused",
    /// Values received that their point did not take.
    unwritten = "unwrittenPoints",
    /// Telegrams that found no room in the observers' ring.
    unseen = "framesLost",
}
