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
  const field = (option: Option) => (
    <OptionField key={option.field} option={option} value={options[option.field] ?? ""} problem={problem.field === option.field ? problem.text : undefined}
      onChange={(value) => onChange({ ...options, [option.field]: value })} />
  );
  return (
    <>
      <div class="options">{shown(basic).map(field)}</div>
      {groups.filter((group) => shown(group.options).length > 0).map((group) => {
        const set = shown(group.options).filter((option) => options[option.field]).length;
        return (
          <details key={group.title} class="more-options" open={group.options.some((option) => option.field === problem.field)}>
            <summary>{group.title}{set > 0 && <span class="count num">{set} set</span>}</summary>
            <div class="options">{shown(group.options).filter((option) => !isCheck(option)).map(field)}</div>
            <div class="options checks">{shown(group.options).filter(isCheck).map(field)}</div>
          </details>
        );
      })}
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
