import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;

/** Writes messages to a database, and in the same transaction how far it is. */
final class Positions implements Once.Sink {
    private final Connection db;

    Positions(Connection db) throws SQLException {
        this.db = db;
        Table.create(db);
        try (PreparedStatement s = db.prepareStatement(
                // begin: positions-table
                "CREATE TABLE IF NOT EXISTS positions (topic TEXT, part INTEGER, next BIGINT NOT NULL, PRIMARY KEY (topic, part))"
                // end
                )) {
            s.execute();
        }
        db.setAutoCommit(false);
    }

    // begin: positions
    @Override
    public Map<TopicPartition, Long> positions(Set<TopicPartition> partitions) {
        Map<TopicPartition, Long> positions = new HashMap<>();
        try (PreparedStatement s = db.prepareStatement("SELECT next FROM positions WHERE topic = ? AND part = ?")) {
            for (TopicPartition p : partitions) {
                s.setString(1, p.topic());
                s.setInt(2, p.partition());
                try (ResultSet row = s.executeQuery()) {
                    if (row.next()) {
                        positions.put(p, row.getLong(1));
                    }
                }
            }
            db.commit();
            return positions;
        } catch (SQLException e) {
            throw new IllegalStateException("read positions", e);
        }
    }

    @Override
    public void take(TopicPartition p, List<ConsumerRecord<byte[], byte[]>> messages, long done, long next) {
        try (PreparedStatement s = db.prepareStatement(
                "INSERT INTO positions (topic, part, next) VALUES (?, ?, ?)"
                        + " ON CONFLICT (topic, part) DO UPDATE SET next = excluded.next WHERE positions.next = ?")) {
            s.setString(1, p.topic());
            s.setInt(2, p.partition());
            s.setLong(3, next);
            s.setLong(4, done);
            if (s.executeUpdate() != 1) { // a process that was paused, and whose partition another one has
                throw new IllegalStateException(p + ": another process has gone on from " + done);
            }
            for (ConsumerRecord<byte[], byte[]> m : messages) {
                Table.insert(db, m); // whatever your program does with a message
            }
            db.commit();
        } catch (SQLException | RuntimeException e) {
            throw Table.undo(db, e);
        }
        messages.forEach(m -> System.out.println(Json.of(m)));
    }
    // end
}
