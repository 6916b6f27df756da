import { lazy, Suspense, type ComponentProps } from "react";
import { Loading } from "../ui/parts";

const Editor = lazy(() => import("./editor"));

/** The editor, which is loaded when it is shown first. */
export function Code({ size = "mid", ...rest }: ComponentProps<typeof Editor> & { size?: "mid" | "tall" }) {
  return (
    <div className={`editor ${size}`}>
      <Suspense fallback={<div className="panel-body"><Loading label="Loading the editor" /></div>}>
        <Editor {...rest} />
      </Suspense>
    </div>
  );
}
