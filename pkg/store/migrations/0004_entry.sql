-- What a player opens in output, where it is not what pibootd itself calls it:
-- of streams that a foreign muxer made.
ALTER TABLE jobs ADD COLUMN entry TEXT NOT NULL DEFAULT '';
