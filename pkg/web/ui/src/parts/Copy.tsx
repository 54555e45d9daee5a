import { tell } from "../model/act";
import { Button } from "./Button";

async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Browsers have a clipboard only for pages from https or this machine.
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  tell("Copied.");
}

export function CopyButton({ text, children }: { text: string; children?: string }) {
  return children ? <Button icon="copy" onPress={() => copy(text)}>{children}</Button> : <Button icon="copy" label="Copy" look="quiet" onPress={() => copy(text)} />;
}

// A CopyLine shows a text to copy, such as an address or a command.
export function CopyLine({ text, label }: { text: string; label: string }) {
  return (
    <div class="copyline">
      <code tabIndex={0} aria-label={label}>{text}</code>
      <CopyButton text={text} />
    </div>
  );
}
