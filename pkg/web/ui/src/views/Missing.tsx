import { Empty } from "../parts/Empty";

export function Missing({ what }: { what: string }) {
  return <Empty title={`There is no such ${what}.`}><a href="/">Go to the overview</a></Empty>;
}
