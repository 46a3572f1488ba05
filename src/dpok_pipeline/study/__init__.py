"""The human study: which of two sets of images people prefer, without knowing who made them.

As in the paper (section 5.2, Figure 3c), a rater sees two sets of four images of one prompt, one
set by each of two methods, and says which shows better what the prompt asks for and which has
better images.

=============  ====================================================================================
module         what it does
=============  ====================================================================================
`pairs`        chooses the images, and draws which set is on which side
`page`         writes the page that raters open; it does not know which side is which
`votes`        reads the raters' files, and refuses those that cannot be counted
`stand_in`     lets the judge vote where there is one; it is no person and never counted as one
`results`      shares of the votes with intervals, and the raters' agreement
`section`      shows them in the report
=============  ====================================================================================
"""
