package web

import (
	"net/http"

	"pibootd/pkg/access"
	"pibootd/pkg/transcode"
)

// A route is a request of the API that pibootd answers, and who may make it.
type route struct {
	pattern string       // of http.ServeMux
	scope   access.Scope // that the TCP ports require
	handler http.HandlerFunc
	socket  bool // only the control socket has it
	login   bool // it is for who is not logged in, too
	secret  bool // its body is not for the audit log
	part    bool // it is a part of a change that another request began, and not audited
}

// routes returns all requests below /api/. On the control socket, followers of
// streams have one limit; on the TCP ports, each address has its own.
func (s *Server) routes(followers *slots) []route {
	slots := newSlots("uploads", maxUploads, maxOwnUploads)
	return []route{
		{pattern: "GET /api/v1/session", handler: s.showSession, login: true},
		{pattern: "POST /api/v1/session", handler: s.login, login: true, secret: true},
		{pattern: "DELETE /api/v1/session", handler: s.logout, login: true},
		{pattern: "POST /api/v1/setup", handler: s.setUp, login: true, secret: true},
		{pattern: "POST /api/v1/setup-link", scope: access.Admin, handler: s.makeSetupLink, socket: true},
		{pattern: "GET /api/v1/tokens", scope: access.Admin, handler: s.listTokens},
		{pattern: "POST /api/v1/tokens", scope: access.Admin, handler: s.addToken},
		{pattern: "DELETE /api/v1/tokens/{name}", scope: access.Admin, handler: s.revokeToken},
		{pattern: "GET /api/v1/sessions", scope: access.Admin, handler: s.listLogins},
		{pattern: "DELETE /api/v1/sessions/{id}", scope: access.Admin, handler: s.endLogin},
		{pattern: "GET /api/v1/config", scope: access.Admin, handler: s.showConfig},
		{pattern: "GET /api/v1/audit", scope: access.Admin, handler: s.listAudit},

		{pattern: "GET /api/v1/openapi.json", handler: s.describeAPI},
		{pattern: "GET /api/v1/info", scope: access.Read, handler: s.info},
		{pattern: "GET /api/v1/doctor", scope: access.Admin, handler: s.examine}, // changes nothing, but probes the network and mounts exports
		{pattern: "GET /api/v1/logs", scope: access.Admin, handler: s.logs(followers)},
		{pattern: "GET /api/v1/live", scope: access.Read, handler: s.followLive(followers)},
		{pattern: "GET /api/v1/events", scope: access.Read, handler: s.events(followers)},

		{pattern: "GET /api/v1/pis", scope: access.Read, handler: s.listPis},
		{pattern: "POST /api/v1/pis", scope: access.Admin, handler: s.addPi},
		{pattern: "GET /api/v1/pis/{ref}", scope: access.Read, handler: s.showPi},
		{pattern: "PATCH /api/v1/pis/{ref}", scope: access.Admin, handler: s.editPi},
		{pattern: "DELETE /api/v1/pis/{ref}", scope: access.Admin, handler: s.removePi},
		{pattern: "POST /api/v1/pis/{ref}/root", scope: access.Admin, handler: s.changeRoot},
		{pattern: "GET /api/v1/pis/{ref}/drift", scope: access.Admin, handler: s.drift}, // reads the whole root
		{pattern: "GET /api/v1/pis/{ref}/report", scope: access.Admin, handler: s.report},
		{pattern: "GET /api/v1/pis/{ref}/kept", scope: access.Read, handler: s.listKept},
		{pattern: "DELETE /api/v1/pis/{ref}/kept/{name}", scope: access.Admin, handler: s.removeKept},
		{pattern: "PUT /api/v1/pis/{ref}/drain", scope: access.Admin, handler: s.drainPi},
		{pattern: "DELETE /api/v1/pis/{ref}/drain", scope: access.Admin, handler: s.drainPi},
		{pattern: "GET /api/v1/discovered", scope: access.Read, handler: s.listDiscovered},

		{pattern: "GET /api/v1/templates", scope: access.Read, handler: s.listTemplates},
		{pattern: "POST /api/v1/templates", scope: access.Admin, handler: s.makeTemplate},
		{pattern: "GET /api/v1/templates/{ref}", scope: access.Read, handler: s.showTemplate},
		{pattern: "DELETE /api/v1/templates/{ref}", scope: access.Admin, handler: s.removeTemplate},
		{pattern: "GET /api/v1/operations", scope: access.Read, handler: s.listOperations},
		{pattern: "GET /api/v1/operations/{id}", scope: access.Read, handler: s.showOperation},
		{pattern: "DELETE /api/v1/operations/{id}", scope: access.Admin, handler: s.cancelOperation},

		{pattern: "GET /api/v1/workers", scope: access.Read, handler: s.listMachines},
		{pattern: "POST /api/v1/workers", scope: access.Admin, handler: s.addMachine},
		{pattern: "GET /api/v1/workers/{ref}", scope: access.Read, handler: s.showMachine},
		{pattern: "PATCH /api/v1/workers/{ref}", scope: access.Admin, handler: s.editMachine},
		{pattern: "DELETE /api/v1/workers/{ref}", scope: access.Admin, handler: s.removeMachine},

		{pattern: "GET /api/v1/jobs", scope: access.Read, handler: s.listJobs},
		{pattern: "POST /api/v1/jobs", scope: access.Submit, handler: s.submitJob},
		{pattern: "GET /api/v1/jobs/{id}", scope: access.Read, handler: s.showJob},
		{pattern: "PATCH /api/v1/jobs/{id}", scope: access.Admin, handler: s.changeJob},
		{pattern: "DELETE /api/v1/jobs/{id}", scope: access.Admin, handler: s.cancelJob},
		{pattern: "GET /api/v1/jobs/{id}/watch", scope: access.Read, handler: s.watchJob(followers)},
		{pattern: "POST /api/v1/jobs/{id}/retry", scope: access.Admin, handler: s.retryJob},
		{pattern: "GET /api/v1/streams", scope: access.Read, handler: s.listStreams},
		{pattern: "POST /api/v1/streams", scope: access.Admin, handler: s.addStream, secret: true},
		{pattern: "GET /api/v1/streams/{name}", scope: access.Read, handler: s.showStream},
		{pattern: "DELETE /api/v1/streams/{name}", scope: access.Admin, handler: s.stopStream},
		{pattern: "GET /api/v1/streams/{name}/key", scope: access.Admin, handler: s.streamKey},
		{pattern: "POST /api/v1/streams/{name}/key", scope: access.Admin, handler: s.streamKey},
		{pattern: "PUT /api/v1/media/{name...}", scope: access.Submit, handler: s.uploadHandler(slots), secret: true},
		{pattern: "GET /api/v1/media", scope: access.Read, handler: s.listMedia},
		{pattern: "GET /api/v1/files", scope: access.Submit, handler: s.listFiles},
		{pattern: "DELETE /api/v1/media/{name...}", scope: access.Admin, handler: s.deleteMedia},
		{pattern: "GET /api/v1/trash", scope: access.Read, handler: s.listTrash},
		{pattern: "POST /api/v1/trash/{id}/restore", scope: access.Admin, handler: s.restoreTrash},
		{pattern: "DELETE /api/v1/trash/{id}", scope: access.Admin, handler: s.removeTrash},
		{pattern: "OPTIONS /api/v1/uploads", handler: s.describeTus},
		{pattern: "GET /api/v1/uploads", scope: access.Submit, handler: s.listUploads},
		{pattern: "POST /api/v1/uploads", scope: access.Submit, handler: s.tus(s.createUpload), secret: true},
		{pattern: "HEAD /api/v1/uploads/{id}", scope: access.Submit, handler: s.tus(s.showUpload)},
		{pattern: "PATCH /api/v1/uploads/{id}", scope: access.Submit, handler: s.tus(s.continueUpload(slots)), part: true},
		{pattern: "DELETE /api/v1/uploads/{id}", scope: access.Submit, handler: s.tus(s.removeUpload)},
	}
}

// publicHandler serves the TCP ports. Players reach the media share by any host
// name.
func (s *Server) publicHandler() http.Handler {
	media := http.NewServeMux()
	media.Handle("GET /media/", s.guard(route{scope: unless(s.Public.Media, access.Read), handler: http.StripPrefix("/media/", mediaHandler(s.Info.MediaDir)).ServeHTTP}))
	media.Handle("GET /live/{name}/{file...}", s.guard(route{scope: unless(s.Public.Media, access.Read), handler: s.liveHandler(newSlots("requests for live streams", maxPlayers, maxOwnPlayers))}))
	media.Handle("GET "+SeekPath+"{id}/{name...}", s.guard(route{scope: unless(s.Public.Media, access.Read), handler: s.seekHandler()}))
	all := http.NewServeMux()
	all.Handle("/media/", media)
	all.Handle("/live/", media)
	all.Handle(SeekPath, media)
	all.Handle("/", s.guardHost(s.guardedHandler()))
	return all
}

func (s *Server) guardedHandler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes(newSlots("streams of events", maxFollowers, maxOwnFollow)) {
		if r.scope == access.Read {
			r.scope = unless(s.Public.Read, access.Read)
		}
		if !r.socket {
			mux.Handle(r.pattern, s.guard(r))
		}
	}
	handlePage(mux)
	mux.Handle("GET /metrics", s.guard(route{scope: unless(s.Public.Metrics || s.Public.Read, access.Read), handler: s.metricsHandler().ServeHTTP}))
	mux.Handle("GET "+ProgramPath+"{arch}", s.guard(route{scope: unless(s.Public.Program || s.Public.Read, access.Read), handler: s.program}))
	if s.Share != nil {
		mux.Handle(transcode.PathShare, s.Share)
		mux.Handle(transcode.PathShare+"/", s.Share)
	}
	if s.Muxers != nil {
		mux.Handle("/muxer/", s.Muxers)
		mux.Handle("/tidy/", s.Muxers)
	}
	return inWords(mux, s.Log)
}

// unless returns scope, or Nobody if the request is public.
func unless(public bool, scope access.Scope) access.Scope {
	if public {
		return access.Nobody
	}
	return scope
}

// controlHandler serves the control socket, which accepts every request.
func (s *Server) controlHandler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes(newSlots("streams of events", maxFollowers, maxFollowers)) {
		mux.Handle(r.pattern, s.asOwner(r))
	}
	mux.Handle("GET /metrics", s.metricsHandler())
	return inWords(mux, s.Log)
}
