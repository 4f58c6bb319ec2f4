import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.common.TopicPartition;

/** Reads a topic as a member of a group, and hands each message to a sink once. */
final class Once implements ConsumerRebalanceListener {
    // begin: sink
    /** Where messages go, and where it is kept how far that is. */
    interface Sink {
        /** The next offset to show of each partition; a partition that has none is left out. */
        Map<TopicPartition, Long> positions(Set<TopicPartition> partitions);

        /**
         * Takes messages of a partition, and that everything below next is done. done is what this
         * said the last time, or positions did; -1 where neither said anything.
         */
        void take(TopicPartition p, List<ConsumerRecord<byte[], byte[]>> messages, long done, long next);
    }
    // end

    /** What is known of a partition that this process reads. */
    private static final class Reading {
        final Window window;
        final long show; // records below are read for the look-back only
        long done;

        Reading(Window window, long show, long done) {
            this.window = window;
            this.show = show;
            this.done = done;
        }
    }

    private final Consumer<byte[], byte[]> consumer;
    private final Sink sink;
    private final long lookBack;
    private final boolean replays;
    private final Map<TopicPartition, Reading> readings = new HashMap<>();
    private volatile boolean stopping;

    Once(Consumer<byte[], byte[]> consumer, Sink sink, long lookBack, boolean replays) {
        this.consumer = consumer;
        this.sink = sink;
        this.lookBack = lookBack;
        this.replays = replays;
    }

    // begin: settings
    /** Without these settings the consumer would not read once. */
    static Map<String, Object> settings(Map<String, Object> given) {
        Map<String, Object> all = new HashMap<>(given);
        all.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false); // it would commit positions of the look-back
        all.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none"); // it would pass over a gap without a word
        all.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        return all;
    }
    // end

    // begin: assigned
    /** Begins W offsets before what is to be shown, so that the window is what it was before. */
    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
        Map<TopicPartition, Long> positions = sink.positions(Set.copyOf(assigned));
        Map<TopicPartition, Long> starts = consumer.beginningOffsets(assigned);
        Map<TopicPartition, Long> ends = consumer.endOffsets(assigned);
        for (TopicPartition p : assigned) {
            long start = starts.get(p);
            long done = positions.getOrDefault(p, -1L);
            long show = done < 0 ? start : done;
            if (show < start) {
                System.err.printf("%s: records %d to %d were removed before they were read%n", p, show, start - 1);
                show = start;
            } else if (show > ends.get(p)) { // to begin anew would show everything again: somebody has to say so
                throw new IllegalStateException(
                        p + " ends at " + ends.get(p) + ", before position " + show + ": it was made anew, or has lost records");
            }
            readings.put(p, new Reading(new Window(lookBack), show, done));
            consumer.seek(p, Math.max(start, show - lookBack));
        }
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
        readings.keySet().removeAll(revoked); // all that was read is with the sink
    }
    // end

    // begin: run
    void run(String topic) {
        consumer.subscribe(List.of(topic), this);
        while (!stopping) {
            ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(200));
            for (TopicPartition p : records.partitions()) {
                take(p, records.records(p));
            }
        }
    }

    private void take(TopicPartition p, List<ConsumerRecord<byte[], byte[]>> records) {
        Reading reading = readings.get(p);
        List<ConsumerRecord<byte[], byte[]>> messages = new ArrayList<>();
        for (ConsumerRecord<byte[], byte[]> r : records) {
            if (isNew(r, reading)) {
                messages.add(r);
            }
        }
        long next = records.get(records.size() - 1).offset() + 1;
        if (next > reading.show) { // never a position of the look-back
            sink.take(p, messages, reading.done, next);
            reading.done = next;
        }
    }

    private boolean isNew(ConsumerRecord<byte[], byte[]> r, Reading reading) {
        UUID id = Marks.id(r.headers());
        boolean replay = Marks.replay(r.headers());
        boolean duplicate = false;
        if (id != null && replay) {
            duplicate = reading.window.holds(id, r.offset()); // a replay makes no other record a duplicate
        } else if (id != null) {
            duplicate = reading.window.seen(id, r.offset()); // also of what is not shown
        }
        return !duplicate && r.offset() >= reading.show && (replays || !replay);
    }
    // end

    /** Makes run return after the records that it is at. */
    void stop() {
        stopping = true;
    }
}
