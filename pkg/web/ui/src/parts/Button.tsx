import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Glyph, type GlyphName } from "./Icon";

interface Properties {
  children?: ComponentChildren;
  icon?: GlyphName;
  label?: string; // of a button that has nothing but its icon
  look?: "primary" | "danger" | "quiet";
  disabled?: boolean;
  submit?: boolean;
  onPress?: () => void | Promise<unknown>;
}

// A Button does one thing; while it does, it cannot be pressed again.
export function Button({ children, icon, label, look, disabled = false, submit = false, onPress }: Properties) {
  const [busy, setBusy] = useState(false);
  const press = async () => {
    setBusy(true);
    try {
      await onPress?.();
    } finally {
      setBusy(false);
    }
  };
  return (
    <button type={submit ? "submit" : "button"} class={["button", look ?? "", children ? "" : "bare"].join(" ")} aria-label={label} title={label}
      disabled={disabled || busy} onClick={onPress && ((event) => { event.stopPropagation(); void press(); })}>
      {icon && <Glyph name={icon} />}
      {children}
    </button>
  );
}
