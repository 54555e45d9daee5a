import { basic, groups, isStream, type Option, type Options } from "../model/options";
import { CheckField, ChoiceField, TextField } from "./Field";

interface Properties {
  options: Options;
  onChange: (options: Options) => void;
  problem: { text: string; field?: string | undefined };
}

// OptionsForm asks for all that a job can do besides its source.
export function OptionsForm({ options, onChange, problem }: Properties) {
  const shown = (list: Option[]) => list.filter((option) => !option.stream || isStream(options));
  const rest = { options, onChange, problem };
  return (
    <>
      <OptionFields list={shown(basic)} {...rest} />
      {groups.filter((group) => shown(group.options).length > 0).map((group) => <MoreOptions key={group.title} title={group.title} list={shown(group.options)} {...rest} />)}
    </>
  );
}

// MoreOptions are folded away, and tell how many of them are set.
export function MoreOptions({ title, list, ...rest }: Properties & { title: string; list: Option[] }) {
  const set = list.filter((option) => rest.options[option.field]).length;
  return (
    <details class="more-options" open={list.some((option) => option.field === rest.problem.field)}>
      <summary>{title}{set > 0 && <span class="count num">{set} set</span>}</summary>
      <OptionFields list={list} {...rest} />
    </details>
  );
}

// OptionFields are fields first, then what is on or off.
function OptionFields({ list, options, onChange, problem }: Properties & { list: Option[] }) {
  const field = (option: Option) => (
    <OptionField key={option.field} option={option} value={options[option.field] ?? ""} problem={problem.field === option.field ? problem.text : undefined}
      onChange={(value) => onChange({ ...options, [option.field]: value })} />
  );
  const checks = list.filter(isCheck);
  return (
    <>
      <div class="options">{list.filter((option) => !isCheck(option)).map(field)}</div>
      {checks.length > 0 && <div class="options checks">{checks.map(field)}</div>}
    </>
  );
}

const isCheck = ({ kind }: Option): boolean => kind === "check" || kind === "uncheck";

function OptionField({ option: { field, kind, label, help, placeholder, choices }, value, onChange, problem }: { option: Option; value: string; onChange: (value: string) => void; problem: string | undefined }) {
  if (kind === "check" || kind === "uncheck") {
    const on = kind === "check" ? "yes" : "", off = kind === "check" ? "" : "yes";
    return <CheckField name={field} label={label} checked={value === on} onChange={(checked) => onChange(checked ? on : off)} problem={problem} />;
  }
  if (choices) return <ChoiceField name={field} label={label} value={value} options={choices} onChange={onChange} problem={problem} />;
  return <TextField name={field} label={label} type={kind === "number" || kind === "kilobits" ? "number" : "text"} value={value} onChange={onChange} placeholder={placeholder} help={help} problem={problem} />;
}
