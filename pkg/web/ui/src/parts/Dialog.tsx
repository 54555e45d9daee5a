import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import { Button } from "./Button";

interface Properties {
  title: string;
  children: ComponentChildren;
  onClose: () => void;
}

// A Dialog is modal: the browser keeps the focus within it, and gives it back.
export function Dialog({ title, children, onClose }: Properties) {
  const box = useRef<HTMLDialogElement>(null);
  const id = useId();
  // At once, because nothing else can have the focus while a dialog is open.
  useLayoutEffect(() => {
    const dialog = box.current, before = document.activeElement;
    dialog?.showModal();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
    };
  }, []);
  return (
    <dialog ref={box} aria-labelledby={id} onCancel={(event) => { event.preventDefault(); onClose(); }}
      onClick={(event) => { if (event.target === box.current) onClose(); }}>
      <div class="dialog">
        <header>
          <h2 id={id}>{title}</h2>
          <Button icon="close" label="Close" look="quiet" onPress={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}
