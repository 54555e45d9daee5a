import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { ComponentChild } from "preact";
import { checkSession } from "./model/api";
import { startClock } from "./model/clock";
import { followWhileVisible, locked, state } from "./model/live";
import { address, catchLinks } from "./model/router";
import { Loading } from "./parts/Empty";
import { Frame } from "./parts/Frame";
import { BoardPage } from "./views/Board";
import { BoardsPage } from "./views/Boards";
import { DoctorPage } from "./views/Doctor";
import { HomePage } from "./views/Home";
import { JobPage } from "./views/Job";
import { JobsPage } from "./views/Jobs";
import { LoginPage } from "./views/Login";
import { Missing } from "./views/Missing";
import { SettingsPage } from "./views/Settings";
import { StreamsPage } from "./views/Streams";
import { SubmitPage } from "./views/Submit";
import { TemplatePage, TemplatesPage } from "./views/Templates";
import { VideosPage } from "./views/Videos";

// The player brings a library of its own, which is loaded when it is needed.
function Video({ place }: { place: string }) {
  const [Page, setPage] = useState<((props: { place: string }) => ComponentChild) | undefined>(undefined);
  useEffect(() => { void import("./views/Video").then((module) => setPage(() => module.VideoPage)); }, []);
  return Page ? <Page key={place} place={place} /> : <Loading />;
}

function Stream({ name }: { name: string }) {
  const [Page, setPage] = useState<((props: { name: string }) => ComponentChild) | undefined>(undefined);
  useEffect(() => { void import("./views/Video").then((module) => setPage(() => module.StreamPage)); }, []);
  return Page ? <Page key={name} name={name} /> : <Loading />;
}

function view(path: string): ComponentChild {
  const [top = "", ...rest] = path.split("/").filter(Boolean).map(decodeURIComponent);
  const one = rest.join("/");
  switch (top) {
    case "": return <HomePage />;
    case "boards": return one ? <BoardPage key={one} name={one} /> : <BoardsPage />;
    case "jobs": return one ? <JobPage key={one} id={Number(one)} /> : <JobsPage />;
    case "videos": return one ? <Video key={one} place={one} /> : <VideosPage />;
    case "streams": return one ? <Stream key={one} name={one} /> : <StreamsPage />;
    case "templates": return one ? <TemplatePage key={one} name={one} /> : <TemplatesPage />;
    case "doctor": return <DoctorPage />;
    case "settings": return <SettingsPage />;
    case "submit": return <SubmitPage />;
    case "login": case "setup": return <LoginPage />;
    default: return <Missing what="page" />;
  }
}

function App() {
  const path = address.value.pathname;
  if (locked.value || path === "/login" || path === "/setup") return <Frame bare><LoginPage /></Frame>;
  return <Frame>{state.value ? view(path) : <Loading rows={8} />}</Frame>;
}

catchLinks();
startClock();
followWhileVisible();
void checkSession();
const root = document.getElementById("app");
if (root) render(<App />, root);
