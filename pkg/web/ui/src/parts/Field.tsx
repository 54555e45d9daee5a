import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";

interface Frame {
  label: string;
  help?: string | undefined;
  problem?: string | undefined;
  children: (id: string, describedBy: string | undefined) => ComponentChildren;
}

const describes = (id: string, help?: string, problem?: string): string | undefined => [help && id + "-help", problem && id + "-problem"].filter(Boolean).join(" ") || undefined;

// A Field is an input with its name, what it is for, and what is wrong with it.
function Field({ label, help, problem, children }: Frame) {
  const id = useId();
  return (
    <div class={"field" + (problem ? " wrong" : "")}>
      <label for={id}>{label}</label>
      {children(id, describes(id, help, problem))}
      {help && <p class="help" id={id + "-help"}>{help}</p>}
      {problem && <p class="problem" id={id + "-problem"}>{problem}</p>}
    </div>
  );
}

interface Text {
  name?: string;
  label: string;
  value: string;
  onChange: (value: string) => void;
  help?: string | undefined;
  problem?: string | undefined;
  type?: "text" | "password" | "number";
  placeholder?: string | undefined;
  required?: boolean;
  auto?: "off" | "current-password" | "new-password";
  focus?: boolean;
}

const kinds = { text: { type: "text" }, password: { type: "password" }, number: { type: "number", step: "any" } } as const;

export function TextField({ name, label, value, onChange, help, problem, type = "text", placeholder, required = false, auto = "off", focus = false }: Text) {
  return (
    <Field label={label} help={help} problem={problem}>
      {(id, described) => (
        <input id={id} name={name} {...kinds[type]} value={value} placeholder={placeholder} required={required} autocomplete={auto} autofocus={focus} spellcheck={false}
          aria-describedby={described} aria-invalid={problem ? true : undefined} onInput={(event) => onChange(event.currentTarget.value)} />
      )}
    </Field>
  );
}

// An AreaField takes some lines.
export function AreaField({ label, value, onChange, help, problem, placeholder }: Text) {
  return (
    <Field label={label} help={help} problem={problem}>
      {(id, described) => (
        <textarea id={id} rows={3} value={value} placeholder={placeholder} spellcheck={false} aria-describedby={described} aria-invalid={problem ? true : undefined} onInput={(event) => onChange(event.currentTarget.value)} />
      )}
    </Field>
  );
}

interface Choice {
  name?: string;
  label: string;
  value: string;
  options: [value: string, text: string][];
  onChange: (value: string) => void;
  help?: string | undefined;
  problem?: string | undefined;
}

export function ChoiceField({ name, label, value, options, onChange, help, problem }: Choice) {
  return (
    <Field label={label} help={help} problem={problem}>
      {(id, described) => (
        <select id={id} name={name} value={value} aria-describedby={described} onChange={(event) => onChange(event.currentTarget.value)}>
          {options.map(([option, text]) => <option key={option} value={option}>{text}</option>)}
        </select>
      )}
    </Field>
  );
}

interface Check { name?: string; label: string; checked: boolean; onChange: (on: boolean) => void; help?: string; problem?: string | undefined }

export function CheckField({ name, label, checked, onChange, help, problem }: Check) {
  const id = useId();
  return (
    <div class={"field check" + (problem ? " wrong" : "")}>
      <input id={id} name={name} type="checkbox" checked={checked} aria-describedby={describes(id, help, problem)} onChange={(event) => onChange(event.currentTarget.checked)} />
      <label for={id}>{label}</label>
      {help && <p class="help" id={id + "-help"}>{help}</p>}
      {problem && <p class="problem" id={id + "-problem"}>{problem}</p>}
    </div>
  );
}

// A Search narrows a list down while one types.
export function Search({ value, onChange, label }: { value: string; onChange: (value: string) => void; label: string }) {
  return (
    <input class="search" type="search" value={value} placeholder={label} aria-label={label} autocomplete="off" spellcheck={false}
      onInput={(event) => onChange(event.currentTarget.value)} />
  );
}

export interface Tab { value: string; text: string; count?: number }

// Tabs choose which of a list are shown. Where there is no room for all, the chosen one
// is in sight.
export function Tabs({ tabs, value, onChange, label }: { tabs: Tab[]; value: string; onChange: (value: string) => void; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const chosen = box.current?.querySelector<HTMLElement>("[aria-pressed=true]");
    if (box.current && chosen) box.current.scrollLeft = chosen.offsetLeft - box.current.offsetLeft - 16;
  }, [value]);
  return (
    <div class="tabs" role="group" aria-label={label} ref={box}>
      {tabs.map((tab) => (
        <button key={tab.value} type="button" aria-pressed={tab.value === value} onClick={() => onChange(tab.value)}>
          {tab.text}{tab.count !== undefined && <span class="count num">{tab.count}</span>}
        </button>
      ))}
    </div>
  );
}
