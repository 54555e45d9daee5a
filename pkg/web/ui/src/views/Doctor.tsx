import { useEffect, useState } from "preact/hooks";
import { attempt, messageOf } from "../model/act";
import { get, session, token } from "../model/api";
import { count, sentence } from "../model/format";
import { state } from "../model/live";
import type { Finding } from "../model/types";
import { Button } from "../parts/Button";
import { Empty, Loading } from "../parts/Empty";
import { Status } from "../parts/Icon";
import { Ago } from "../parts/Time";

const rank = { problem: 0, warning: 1, ok: 2 };

// DoctorPage has the installation examined, and says what is wrong and what to do.
export function DoctorPage() {
  const [found, setFound] = useState<Finding[] | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const examine = async () => {
    setBusy(true);
    setProblem("");
    try {
      setFound(await attempt(() => get<Finding[]>("doctor")));
    } catch (error) {
      setProblem(messageOf(error));
    } finally {
      setBusy(false);
    }
  };
  const last = state.value?.system?.doctor?.at;
  useEffect(() => { if (last && (session.value || token())) get<Finding[]>("doctor?last=true").then(setFound, () => undefined); }, [last, session.value]);
  const bad = found?.filter((one) => one.level !== "ok").length ?? 0;
  return (
    <section class="page">
      <header class="title"><h1>Doctor</h1><span class="grow" /><Button look="primary" icon="again" onPress={examine}>{found ? "Examine again" : "Examine"}</Button></header>
      <div class="card">
        {busy && !found && <Loading />}
        {problem && <p class="problem" role="alert">{problem}{problem.includes("command line") && <> Run <code>sudo pibootd doctor</code> on the NAS.</>}</p>}
        {!found && !busy && !problem && <Empty title="Is everything in order?">Pressing Examine looks at the network, other DHCP servers, disks, exports and each board's boot files. It takes some seconds and changes nothing. While the dashboard is open, that is done once an hour.</Empty>}
        {found && <p class="foot" role="status">{bad ? count(bad, "thing") + " to look at" : "All is well"}{last && <span class="muted">, looked at <Ago at={last} /></span>}.</p>}
        {found && (
          <ul class="rows">
            {[...found].sort((a, b) => rank[a.level] - rank[b.level]).map((one, i) => (
              <li key={i} class="row finding">
                <Status shape={one.level === "ok" ? "well" : one.level === "warning" ? "warning" : "stuck"} word={one.level} />
                <b>{one.subject}</b>
                <span class="break">{sentence(one.text)}{one.todo && <span class="todo"> {sentence(one.todo)}</span>}</span>
              </li>
            ))}
          </ul>
        )}
      </div>
    </section>
  );
}
