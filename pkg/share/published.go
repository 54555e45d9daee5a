package share

// PublishedDirs returns the directories at the top of the media share into which only
// pibootd puts files: what it publishes by default, originals, and the trash. Nothing is uploaded
// to them, handed in from them or moved away from them.
func PublishedDirs() []string { return []string{"hls", "mp4", "mkv", "originals", "trash"} }
