import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

// begin: printer
/** Prints messages, then commits. What was printed and not committed when the process died is printed again. */
final class Printer implements Once.Sink {
    private final Consumer<byte[], byte[]> consumer;

    Printer(Consumer<byte[], byte[]> consumer) {
        this.consumer = consumer;
    }

    @Override
    public Map<TopicPartition, Long> positions(Set<TopicPartition> partitions) {
        Map<TopicPartition, Long> positions = new HashMap<>();
        consumer.committed(partitions).forEach((p, at) -> {
            if (at != null) {
                positions.put(p, at.offset());
            }
        });
        return positions;
    }

    @Override
    public void take(TopicPartition p, List<ConsumerRecord<byte[], byte[]>> messages, long done, long next) {
        messages.forEach(m -> System.out.println(Json.of(m)));
        System.out.flush();
        consumer.commitSync(Map.of(p, new OffsetAndMetadata(next)));
    }
}
// end
