export function Labels({ labels }: { labels: readonly string[] }) {
  if (labels.length === 0) return null;
  return <span class="labels">{labels.map((label) => <span key={label} class="label">{label}</span>)}</span>;
}
