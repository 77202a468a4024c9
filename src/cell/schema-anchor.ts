// Anchored state (decision 0009) in both kinds of cell: the head, its journal and the chunks of the map.
// SQL must never fill them: the code that opens the cell adopts existing rows (adopt-rows.ts).

export const ANCHOR_SCRIPT = `
CREATE TABLE anchor_head (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  size INTEGER NOT NULL,
  state_sequence INTEGER NOT NULL,
  frontier BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  start INTEGER NOT NULL,
  start_chain BLOB NOT NULL,
  chain BLOB NOT NULL,
  entries TEXT NOT NULL,
  salt BLOB NOT NULL,
  incarnation_id TEXT NOT NULL,
  published INTEGER NOT NULL,
  time_at INTEGER NOT NULL,
  mac BLOB NOT NULL,
  mac_key_id TEXT NOT NULL
) STRICT;

CREATE TABLE anchor_journal (
  epoch INTEGER PRIMARY KEY,
  ops BLOB NOT NULL
) STRICT;

CREATE TABLE anchor_chunk (
  start INTEGER PRIMARY KEY,
  bits INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  mac BLOB NOT NULL,
  mac_key_id TEXT NOT NULL
) STRICT;
CREATE INDEX anchor_chunk_by_mac_key ON anchor_chunk (mac_key_id);

-- The frontier of the log's tree at each signed size, so that the way from there to the head can be checked without all leaves.
ALTER TABLE checkpoint ADD COLUMN frontier BLOB;
`;
