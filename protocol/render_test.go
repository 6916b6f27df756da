package protocol

import (
	"encoding/hex"
	"encoding/json"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

// renderJSON writes a message as the vectors do: names as in SPEC §5, byte strings in hex.
func renderJSON(m Message) string {
	var b strings.Builder
	b.WriteString(`{"type":` + strconv.Itoa(int(m.Type())))
	renderFields(&b, reflect.ValueOf(m).Elem(), false)
	b.WriteString("}")
	return b.String()
}

func renderFields(b *strings.Builder, v reflect.Value, first bool) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Name == "_" || strings.HasSuffix(f.Tag.Get("cbor"), "omitempty") && empty(v.Field(i)) {
			continue
		}
		if !first {
			b.WriteString(",")
		}
		first = false
		b.WriteString(`"` + jsonName(f.Name) + `":`)
		renderValue(b, v.Field(i))
	}
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.String:
		return v.Len() == 0
	}
	return v.IsZero()
}

func renderValue(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		renderValue(b, v.Elem())
	case reflect.Struct:
		if v.Type().Field(0).Name == "_" { // a record: an array
			b.WriteString("[")
			for i := 1; i < v.NumField(); i++ {
				if i > 1 {
					b.WriteString(",")
				}
				renderValue(b, v.Field(i))
			}
			b.WriteString("]")
			return
		}
		b.WriteString("{")
		renderFields(b, v, true)
		b.WriteString("}")
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b.WriteString(`"` + hex.EncodeToString(v.Bytes()) + `"`)
			return
		}
		b.WriteString("[")
		for i := range v.Len() {
			if i > 0 {
				b.WriteString(",")
			}
			renderValue(b, v.Index(i))
		}
		b.WriteString("]")
	case reflect.Map:
		keys := v.MapKeys()
		sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
		b.WriteString("{")
		for i, k := range keys {
			if i > 0 {
				b.WriteString(",")
			}
			renderValue(b, k)
			b.WriteString(":")
			renderValue(b, v.MapIndex(k))
		}
		b.WriteString("}")
	default:
		var x any = v.Interface()
		switch v.Kind() {
		case reflect.Uint8, reflect.Uint32, reflect.Uint64:
			x = v.Uint()
		}
		text, err := json.Marshal(x)
		if err != nil {
			panic(err) // a test helper: NaN cannot come here
		}
		b.Write(text)
	}
}

// jsonName is the Go name in lower camel case: BootID → bootId.
func jsonName(s string) string {
	switch s {
	case "ID", "CSR", "ABI":
		return strings.ToLower(s)
	}
	s = strings.Replace(s, "ID", "Id", 1)
	return string(unicode.ToLower(rune(s[0]))) + s[1:]
}
