import { Component, h, type ComponentChild, type FunctionComponent } from "preact";

// memo draws a part again only when one of its properties has changed: of a list of
// hundreds, those few rows that have.
export function memo<P extends object>(part: FunctionComponent<P>): FunctionComponent<P> {
  class Memo extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      const is = this.props as Record<string, unknown>, to = next as Record<string, unknown>;
      for (const name in to) if (to[name] !== is[name]) return true;
      for (const name in is) if (!(name in to)) return true;
      return false;
    }
    override render(): ComponentChild { return h(part, this.props); }
  }
  return Memo as unknown as FunctionComponent<P>;
}
