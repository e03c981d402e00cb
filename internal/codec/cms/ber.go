package cms

import "fmt"

// Bounds of a BER structure that the library may be given. The library copies
// each level once per level above it, and scans the rest of the input for every
// element inside an indefinite length.
const (
	maxDepth    = 24
	maxElements = 8192
)

// element is one BER element (ITU-T X.690 section 8.1), as far as needed to
// bound a message and to look an algorithm up. Content aliases the input.
type element struct {
	tag      byte // the identifier octet: class, constructed bit, number
	content  []byte
	children []element // of a constructed element
}

const (
	constructedBit = 0x20
	highTagNumber  = 0x1f
	indefinite     = 0x80
)

// parseBER reads exactly one element and its descendants, definite or
// indefinite, within maxDepth and maxElements. Trailing bytes, high tag numbers
// and lengths over four bytes are refused with ErrMalformed.
func parseBER(data []byte) (element, error) {
	w := berWalk{budget: maxElements}
	root, rest, err := w.read(data, 0)
	if err != nil {
		return element{}, err
	}
	if len(rest) != 0 {
		return element{}, fmt.Errorf("%w: trailing data", ErrMalformed)
	}
	return root, nil
}

// berWalk counts the elements left.
type berWalk struct{ budget int }

// read reads the element that data starts with and returns what follows it.
func (w *berWalk) read(data []byte, depth int) (element, []byte, error) {
	w.budget--
	if w.budget < 0 || depth > maxDepth {
		return element{}, nil, fmt.Errorf("%w: nested too deep or too many elements", ErrMalformed)
	}
	if len(data) < 2 || data[0]&highTagNumber == highTagNumber {
		return element{}, nil, fmt.Errorf("%w: bad element header", ErrMalformed)
	}
	e := element{tag: data[0]}
	if data[1] == indefinite {
		return w.readIndefinite(e, data[2:], depth)
	}
	body, rest, err := definite(data[1:])
	if err != nil {
		return element{}, nil, err
	}
	e.content = body
	if e.tag&constructedBit == 0 {
		return e, rest, nil
	}
	for len(body) > 0 {
		var child element
		child, body, err = w.read(body, depth+1)
		if err != nil {
			return element{}, nil, err
		}
		e.children = append(e.children, child)
	}
	return e, rest, nil
}

// readIndefinite reads children up to the end-of-contents octets.
func (w *berWalk) readIndefinite(e element, body []byte, depth int) (element, []byte, error) {
	if e.tag&constructedBit == 0 {
		return element{}, nil, fmt.Errorf("%w: primitive of indefinite length", ErrMalformed)
	}
	whole := body
	for {
		if len(body) >= 2 && body[0] == 0 && body[1] == 0 {
			e.content = whole[:len(whole)-len(body)]
			return e, body[2:], nil
		}
		child, rest, err := w.read(body, depth+1)
		if err != nil {
			return element{}, nil, err
		}
		e.children = append(e.children, child)
		body = rest
	}
}

// definite splits data, which starts with length octets, into the content and
// what follows.
func definite(data []byte) (body, rest []byte, err error) {
	length, used := int(data[0]), 1
	if data[0] > indefinite {
		octets := int(data[0] & 0x7f)
		if octets > 4 || len(data) < 1+octets {
			return nil, nil, fmt.Errorf("%w: bad length", ErrMalformed)
		}
		length = 0
		for _, b := range data[1 : 1+octets] {
			length = length<<8 | int(b)
		}
		used += octets
	}
	if length < 0 || length > len(data)-used {
		return nil, nil, fmt.Errorf("%w: length beyond the data", ErrMalformed)
	}
	return data[used : used+length], data[used+length:], nil
}

// child walks down by indexes; a negative index counts from the end. It
// reports false where the path does not exist.
func (e element) child(path ...int) (element, bool) {
	for _, i := range path {
		if i < 0 {
			i += len(e.children)
		}
		if i < 0 || i >= len(e.children) {
			return element{}, false
		}
		e = e.children[i]
	}
	return e, true
}
