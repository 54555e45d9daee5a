// A Bar shows how far something is; over is past the time that it usually takes.
export function Bar({ value, label, over = false }: { value: number; label: string; over?: boolean }) {
  return (
    <div class={"bar" + (over ? " over" : "")} role="progressbar" aria-label={label} aria-valuenow={Math.round(value)} aria-valuemin={0} aria-valuemax={100}>
      <div style={{ width: Math.min(100, value) + "%" }} />
    </div>
  );
}
