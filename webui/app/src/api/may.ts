import { useNamespace } from "../namespace";
import { useWhoAmI } from "./hooks";

/**
 * Says why the reader may not do something in this namespace ("verb resource", as the API's routes ask Kubernetes), or
 * nothing when they may, or when it is not known: the API refuses it then.
 */
export function useMay(): (right: string) => string | undefined {
  const ns = useNamespace();
  const me = useWhoAmI(ns).data;
  return (right) => (me?.may[right] === false ? `${me.name} may not ${right} in ${ns}: an RBAC Role for group wasmbed.io grants it` : undefined);
}
