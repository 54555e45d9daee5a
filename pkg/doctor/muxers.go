package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"pibootd/pkg/config"
	"pibootd/pkg/transcode"
)

// manyFailures is the number of failed attempts of a muxer after which the muxer is
// suspected, and not the video.
const manyFailures = 2

// maxMuxerDirs limits the directories of videos that are examined.
const maxMuxerDirs = 10_000

// muxers examines what legacy muxers need. It returns nothing if there are none.
func (d *Doctor) muxers(ctx context.Context) []Finding {
	if len(d.Fleet.Muxers) == 0 {
		return nil
	}
	found := d.videos()
	deadline, cancel := context.WithTimeout(ctx, proofTime)
	defer cancel()
	for _, muxer := range d.Fleet.Muxers {
		found = append(found, d.muxerExport(deadline, muxer))
	}
	return append(found, d.muxerTroubles(ctx)...)
}

// muxerName returns the name of a muxer's board or, if it is not a board, its
// address.
func (d *Doctor) muxerName(muxer netip.Addr) string {
	if board, ok := d.Fleet.Registry.ByIP(muxer); ok {
		return fmt.Sprintf("%s (%s)", board.Name, muxer)
	}
	return muxer.String()
}

// muxerExport tries the muxers' export by mounting it as the muxer does.
func (d *Doctor) muxerExport(ctx context.Context, muxer netip.Addr) Finding {
	f := Finding{Subject: "muxers", Level: OK}
	proof, err := d.Fleet.ProveMuxer(ctx, muxer)
	switch {
	case err != nil && ctx.Err() != nil:
		f.Level, f.Text = Warning, fmt.Sprintf("no time was left to try what %s mounts", d.muxerName(muxer))
	case err != nil:
		f.Level, f.Text = Problem, strings.ReplaceAll(err.Error(), "\n", "; ")
		f.Todo = "restart pibootd, which opens every export again; its log says more"
	default:
		f.Text = fmt.Sprintf("for the muxer %s: %s", d.muxerName(muxer), proof)
	}
	return f
}

// videos examines the directory with the videos for muxers.
func (d *Doctor) videos() []Finding {
	dir := filepath.Join(d.MediaDir, transcode.MuxerDir)
	problem := func(todo, format string, args ...any) []Finding {
		return []Finding{{Subject: "muxers", Level: Problem, Text: fmt.Sprintf(format, args...), Todo: todo}}
	}
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return problem("mkdir "+dir+", restart pibootd, and put there what muxers are to do", "http.muxers names muxers, but there is no %s: they are given videos of it alone", dir)
	}
	if err != nil {
		return problem("", "what muxers do: %v", err)
	}
	if !info.IsDir() {
		return problem("move the videos there", "%s is %v; muxers want a directory", dir, info.Mode().Type())
	}
	if share, err := os.Stat(d.MediaDir); err == nil && d.NFS != config.Kernel && device(share) != device(info) {
		return problem("have them in one file system", "%s is a file system of its own, which is not part of what is exported: muxers find it empty", dir)
	}
	return d.walkVideos(dir)
}

func device(info fs.FileInfo) uint64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return uint64(st.Dev)
}

// walkVideos looks for directories in which a muxer cannot work, and reports one of
// them.
func (d *Doctor) walkVideos(dir string) []Finding {
	var unreadable, unwritable, loose []string
	dirs := 0
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil // it was removed meanwhile, or is a video
		}
		if strings.HasSuffix(name, ".hls") && name != dir {
			return fs.SkipDir // a stream
		}
		if dirs++; dirs > maxMuxerDirs {
			return fs.SkipAll
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		may := muxerRights(info)
		switch {
		case may&0o5 != 0o5:
			unreadable = append(unreadable, name)
		case d.NFS == config.Kernel && may&0o2 == 0:
			unwritable = append(unwritable, name)
		case d.NFS == config.Kernel && info.Mode()&fs.ModeSticky == 0:
			loose = append(loose, name)
		}
		return nil
	})
	if err != nil {
		return []Finding{{Subject: "muxers", Level: Problem, Text: err.Error()}}
	}
	return muxerFindings(dir, unreadable, unwritable, loose)
}

// muxerFindings reports the directories below dir that muxers cannot read, those that
// they cannot write, and those in which they can remove videos.
func muxerFindings(dir string, unreadable, unwritable, loose []string) (found []Finding) {
	add := func(level Level, dirs []string, text, todo string) {
		if len(dirs) > 0 {
			found = append(found, Finding{Subject: "muxers", Level: level, Text: fmt.Sprintf("%s%s", dirs[0], more(len(dirs)-1)) + text, Todo: todo})
		}
	}
	add(Problem, unreadable, fmt.Sprintf(": muxers come as user %d, who may not read it", transcode.MuxerUID), "chmod o+rx, and o+r the videos in it")
	add(Problem, unwritable, fmt.Sprintf(": nfsd lets muxers make their streams where user and group %d may write, and here they may not", transcode.MuxerUID), nfsdTodo(dir))
	add(Warning, loose, ": muxers can remove and replace the videos in it", nfsdTodo(dir))
	return found
}

// nfsdTodo returns the command that lets muxers add files to directories, and
// remove only their own.
func nfsdTodo(dir string) string {
	return fmt.Sprintf("find %s -type d ! -name '*.hls' -exec chgrp %d {} + -exec chmod g+rwx,+t {} +", dir, transcode.MuxerUID)
}

func more(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}

// muxerRights returns the three bits of a mode that apply to muxers.
func muxerRights(info fs.FileInfo) fs.FileMode {
	st, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode().Perm()
	switch {
	case ok && st.Uid == transcode.MuxerUID:
		return mode >> 6 & 7
	case ok && st.Gid == transcode.MuxerUID:
		return mode >> 3 & 7
	}
	return mode & 7
}

// muxerTroubles reports the muxers that complete nothing.
func (d *Doctor) muxerTroubles(ctx context.Context) []Finding {
	if d.MuxerTroubles == nil {
		return nil
	}
	troubles, err := d.MuxerTroubles(ctx)
	if err != nil {
		return []Finding{{Subject: "muxers", Level: Problem, Text: err.Error()}}
	}
	var found []Finding
	for _, t := range troubles {
		if t.Failures < manyFailures {
			continue
		}
		found = append(found, Finding{
			Subject: "muxers", Level: Problem,
			Text: fmt.Sprintf("%s has begun %d jobs and ended none, the last %s (job %d): %.300s", t.Worker, t.Failures, when(t.At.In(time.Local)), t.Job, t.Reason),
			Todo: fmt.Sprintf("look at its log, and that it has mounted %s:%s, read-write; /media is read-only", d.Fleet.Network.Addr(), d.Fleet.MuxerPath()),
		})
	}
	return found
}
