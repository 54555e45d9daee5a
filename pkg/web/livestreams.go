package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// Players of live streams wait for what comes next. Each has a request for every rendition
// that it plays.
const (
	maxPlayers    = 1024
	maxOwnPlayers = 64
	// liveWait is how long a player waits at most. RFC 8216bis §6.2.5.2 recommends three
	// target durations.
	liveWait = 15 * time.Second
	// beginWait is how long it waits for a stream that has not begun.
	beginWait = 10 * time.Second
)

// A LiveStream is a live stream as it is listed.
type LiveStream struct {
	queue.Live
	Viewers int `json:"viewers"` // players that load its parts now
}

// streams returns the live streams.
func (s *Server) streams() []LiveStream {
	list := []LiveStream{}
	for _, one := range s.Queue.Lives() {
		list = append(list, s.liveStream(one))
	}
	return list
}

func (s *Server) liveStream(one queue.Live) LiveStream {
	return LiveStream{Live: one, Viewers: s.viewers.count(one.Name, time.Now())}
}

func (s *Server) listStreams(w http.ResponseWriter, _ *http.Request) { s.reply(w, s.streams()) }

func (s *Server) showStream(w http.ResponseWriter, r *http.Request) {
	stream, err := s.Queue.Live(r.PathValue("name"))
	s.replyStream(w, stream, err)
}

func (s *Server) addStream(w http.ResponseWriter, r *http.Request) {
	var request transcode.Request
	if err := decode(w, r, &request); err != nil {
		s.refuse(w, err)
		return
	}
	stream, err := s.Queue.AddLive(r.Context(), request)
	s.replyStream(w, stream, err)
}

func (s *Server) stopStream(w http.ResponseWriter, r *http.Request) {
	stream, err := s.Queue.StopLive(r.Context(), r.PathValue("name"))
	s.replyStream(w, stream, err)
}

// A StreamKey is what an encoder needs to send a live stream.
type StreamKey struct {
	Key  string `json:"key"`
	RTMP string `json:"rtmp,omitempty"` // the server's URL; "": encoders cannot use RTMP
}

// streamKey sends the key of a live stream. With POST, it is a new one.
func (s *Server) streamKey(w http.ResponseWriter, r *http.Request) {
	key, err := s.Queue.LiveKey(r.PathValue("name"), r.Method == http.MethodPost)
	if err != nil {
		s.refuse(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	s.reply(w, StreamKey{Key: key, RTMP: s.rtmpURL()})
}

// rtmpURL returns where encoders send live streams by RTMP.
func (s *Server) rtmpURL() string {
	network, err := netip.ParsePrefix(s.Info.Network)
	if err != nil || s.Info.RTMPPort == 0 {
		return ""
	}
	return fmt.Sprintf("rtmp://%s/live", netip.AddrPortFrom(network.Addr(), uint16(s.Info.RTMPPort)))
}

func (s *Server) replyStream(w http.ResponseWriter, stream queue.Live, err error) {
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, s.liveStream(stream))
}

// liveHandler serves live streams to players: GET /live/NAME/master.m3u8, and what that
// playlist leads to.
func (s *Server) liveHandler(players *slots) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		setMediaRules(w.Header())
		release, err := players.take(clientOf(r))
		if err == nil {
			defer release()
			err = s.playLive(w, r)
		}
		if err != nil {
			w.Header().Set("Cache-Control", "no-store")
			if errors.Is(err, queue.ErrNotYet) {
				w.Header().Set("Retry-After", "1")
			}
			s.refuse(w, err)
		}
	}
}

func (s *Server) playLive(w http.ResponseWriter, r *http.Request) error {
	name, file := r.PathValue("name"), path.Clean("/" + r.PathValue("file"))[1:]
	if _, err := s.Queue.Live(name); err != nil {
		return err
	}
	defer s.viewers.begin(name, r)()
	rendition, rest, _ := strings.Cut(file, "/")
	switch {
	case file == transcode.MasterName:
		ctx, cancel := context.WithTimeout(r.Context(), beginWait)
		defer cancel()
		text, err := s.Queue.LiveMaster(ctx, name)
		return sendPlaylist(w, text, err)
	case rest == transcode.MediaName:
		place, err := livePlace(r)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), liveWait)
		defer cancel()
		text, err := s.Queue.LiveMedia(ctx, name, rendition, place)
		return sendPlaylist(w, text, err)
	}
	return s.sendLiveFile(w, r, name, rendition, rest)
}

// livePlace reads which place in the playlist a player waits for, nil if none
// (RFC 8216bis §6.2.5.2).
func livePlace(r *http.Request) (*queue.LivePlace, error) {
	query := r.URL.Query()
	segment, part := query.Get("_HLS_msn"), query.Get("_HLS_part")
	if segment == "" && part == "" {
		return nil, nil
	}
	place := &queue.LivePlace{Part: -1}
	var err error
	if place.Segment, err = strconv.Atoi(segment); err == nil && part != "" {
		if place.Part, err = strconv.Atoi(part); place.Part < 0 {
			err = strconv.ErrRange
		}
	}
	if err != nil || place.Segment < 0 {
		return nil, pi.InvalidField("_HLS_msn", fmt.Errorf("_HLS_msn=%.20q and _HLS_part=%.20q; want the number of a segment, and of a part of it", segment, part))
	}
	return place, nil
}

func sendPlaylist(w http.ResponseWriter, text []byte, err error) error {
	if err != nil {
		return err
	}
	h := w.Header()
	setMediaType(h, transcode.MediaName)
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text) // the player may be gone
	return nil
}

func (s *Server) sendLiveFile(w http.ResponseWriter, r *http.Request, name, rendition, file string) error {
	ctx, cancel := context.WithTimeout(r.Context(), liveWait)
	defer cancel()
	f, err := s.Queue.OpenLive(ctx, name, rendition, file)
	if err != nil {
		return err
	}
	defer f.Close()
	h := w.Header()
	setMediaType(h, file)
	h.Set("Cache-Control", "max-age=3600, immutable")
	h.Set("Content-Length", strconv.FormatInt(f.Bytes, 10))
	_, _ = io.Copy(w, f) // the player may be gone
	return nil
}
