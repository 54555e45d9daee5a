package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"

	"pibootd/pkg/transcode"
)

// identityBytes of the beginning and of the end of a video are hashed: a whole
// film would take minutes.
const identityBytes = 1 << 20

// hashIdentity hashes what tells a video and its request from others, and the files
// beside it.
func hashIdentity(r transcode.Request, info fs.FileInfo, file io.ReaderAt, beside string) (string, error) {
	request, err := json.Marshal(r.Canonical())
	if err != nil {
		return "", err
	}
	return hashEnds(fmt.Sprintf("%s\n%d %d\n%s", request, info.Size(), info.ModTime().UnixNano(), beside), info, file)
}

// hashContent hashes the beginning and the end of a video.
func hashContent(info fs.FileInfo, file io.ReaderAt) (string, error) {
	return hashEnds("", info, file)
}

// hashEnds hashes a text, and the beginning and the end of a video.
func hashEnds(text string, info fs.FileInfo, file io.ReaderAt) (string, error) {
	hash := sha256.New()
	hash.Write([]byte(text))
	head := io.NewSectionReader(file, 0, min(info.Size(), identityBytes))
	tail := io.NewSectionReader(file, max(info.Size()-identityBytes, 0), identityBytes)
	if _, err := io.Copy(hash, io.MultiReader(head, tail)); err != nil {
		return "", fmt.Errorf("reading the video: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
