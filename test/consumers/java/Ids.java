import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** Writes messages to a database, in the same transaction as their ids. It needs no window. */
final class Ids implements Once.Sink {
    private final Connection db;
    private final Printer group; // whose positions are those that the group commits
    private final Consumer<byte[], byte[]> consumer;

    Ids(Connection db, Consumer<byte[], byte[]> consumer) throws SQLException {
        this.db = db;
        this.group = new Printer(consumer);
        this.consumer = consumer;
        Table.create(db);
        try (PreparedStatement s = db.prepareStatement(
                // begin: ids-table
                "CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, at BIGINT NOT NULL)"
                // end
                )) {
            s.execute();
        }
        db.setAutoCommit(false);
    }

    @Override
    public Map<TopicPartition, Long> positions(Set<TopicPartition> partitions) {
        return group.positions(partitions);
    }

    // begin: ids
    @Override
    public void take(TopicPartition p, List<ConsumerRecord<byte[], byte[]>> messages, long done, long next) {
        List<ConsumerRecord<byte[], byte[]>> fresh = new ArrayList<>();
        try (PreparedStatement s =
                db.prepareStatement("INSERT INTO seen (id, at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING")) {
            for (ConsumerRecord<byte[], byte[]> m : messages) {
                UUID id = Marks.id(m.headers());
                s.setString(1, id == null ? p + "@" + m.offset() : id.toString());
                s.setLong(2, System.currentTimeMillis()); // by which old ones are removed
                if (s.executeUpdate() == 1) {
                    Table.insert(db, m); // whatever your program does with a message
                    fresh.add(m);
                }
            }
            db.commit();
        } catch (SQLException | RuntimeException e) {
            throw Table.undo(db, e);
        }
        consumer.commitSync(Map.of(p, new OffsetAndMetadata(next))); // only after the transaction
        fresh.forEach(m -> System.out.println(Json.of(m)));
    }
    // end
}
