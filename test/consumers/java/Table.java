import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** What stands for a program's own work: a table with a row for each message, in order. */
final class Table {
    private Table() {}

    static void create(Connection db) throws SQLException {
        try (PreparedStatement s = db.prepareStatement("CREATE TABLE IF NOT EXISTS shown (line TEXT NOT NULL)")) {
            s.execute();
        }
    }

    static void insert(Connection db, ConsumerRecord<byte[], byte[]> m) throws SQLException {
        try (PreparedStatement s = db.prepareStatement("INSERT INTO shown (line) VALUES (?)")) {
            s.setString(1, Json.of(m));
            s.executeUpdate();
        }
    }

    /** Takes back what is not committed, and returns why. */
    static RuntimeException undo(Connection db, Exception why) {
        try {
            db.rollback();
        } catch (SQLException e) {
            why.addSuppressed(e);
        }
        return why instanceof RuntimeException r ? r : new IllegalStateException("write messages", why);
    }

    static void print(Connection db) throws SQLException {
        try (PreparedStatement s = db.prepareStatement("SELECT line FROM shown ORDER BY rowid");
                ResultSet rows = s.executeQuery()) {
            while (rows.next()) {
                System.out.println(rows.getString(1));
            }
        }
    }
}
